"""Where arrays live: meshes, processes, the compilation cache."""

"""What every other package may use: errors, progress, Ctrl-C, paths, work in a thread."""

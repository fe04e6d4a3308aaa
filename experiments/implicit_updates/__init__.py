"""What a context does to a real model's blocks, read as a change of their MLP's first weights."""

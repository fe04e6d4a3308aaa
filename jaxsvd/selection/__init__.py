"""How layers, matrices and ranks are chosen."""

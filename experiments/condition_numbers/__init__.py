"""Condition numbers by layer (Fig. 3 of arXiv 2406.03768), and the layers they point at."""

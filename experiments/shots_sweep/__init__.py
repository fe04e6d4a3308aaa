"""Validation accuracy by number of demonstrations (Fig. 2 of arXiv 2406.03768)."""

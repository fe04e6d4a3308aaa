"""Algorithm 1 on single matrices of a given layer (App. B.3 of arXiv 2406.03768)."""

"""How fast the search is, beside the same work in torch: ``python -m experiments.speed``."""

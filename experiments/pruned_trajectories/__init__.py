"""Clip each matrix of each layer at each rate: norms, bounds, gap, risk, the paper's claims."""

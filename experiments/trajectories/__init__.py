"""Theorem 1 and its variants against direct simulation: what is exact, and what breaks."""

"""Dropping layers, magnitude pruning and truncation on the same axes (App. B.6 of 2406.03768)."""

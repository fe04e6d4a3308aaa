"""Figures and tables of the paper, drawn from run directories."""

"""Validation accuracy by depth, module and clipping rate (Fig. 1 of arXiv 2406.03768)."""

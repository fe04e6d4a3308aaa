"""Algorithm 1 over tasks, modules and draws (Fig. 4 and Tables 2-8 of arXiv 2406.03768)."""

"""One task's best rate applied to the others, on their test sets (App. B.5 of arXiv 2406.03768)."""

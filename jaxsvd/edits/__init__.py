"""Changes to weights: truncation, and what guides it."""

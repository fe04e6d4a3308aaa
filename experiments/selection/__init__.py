"""How good the ways of finding a truncation are, for what they spend."""

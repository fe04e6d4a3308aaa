"""Linear attention trained to regress in context, held against the closed forms."""

"""Files of weights: found, read tensor by tensor, placed on devices, and written."""

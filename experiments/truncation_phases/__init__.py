"""When truncating a one-layer in-context regressor helps: the exact risk over all ranks."""

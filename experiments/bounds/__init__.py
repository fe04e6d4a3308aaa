"""Every bound against the gap that it bounds, on gradient descent in context."""

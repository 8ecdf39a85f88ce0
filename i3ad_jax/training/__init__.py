"""Training as an iterator of steps."""

"""Configuration of JAX and XLA for the machine."""

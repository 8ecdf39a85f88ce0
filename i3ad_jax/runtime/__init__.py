"""What JAX and XLA are told about the machine."""

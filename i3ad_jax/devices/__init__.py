"""`devices`: versions and devices."""

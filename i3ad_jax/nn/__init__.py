"""Networks. Flax is imported here and nowhere else in the package."""

"""I3AD in JAX: find defects by inpainting what looks wrong, again and again."""

__version__ = "0.1.0"

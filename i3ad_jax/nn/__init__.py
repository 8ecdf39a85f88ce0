"""Neural networks. Only the modules of this package import Flax."""

"""Batches of training images for tests."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from i3ad_jax.methods.method import Batch


def without_defects(images: Float[np.ndarray | Array, "b h w 3"]) -> Batch:
    """A batch of a method without a segmentation network."""
    return Batch(jnp.asarray(images), planted=None)

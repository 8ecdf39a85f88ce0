"""Batches of training images for tests."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from i3ad_jax.methods.method import Batch
from i3ad_jax.segmentation.planting import Planted


def without_defects(images: Float[np.ndarray | Array, "b h w 3"]) -> Batch:
    """A batch none of whose images has a planted defect."""
    return Batch(
        jnp.asarray(images), Planted(jnp.asarray(images), jnp.zeros((*images.shape[:-1], 1)))
    )

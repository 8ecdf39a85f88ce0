"""From images and reconstructions to anomaly scores."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from i3ad_jax.shapes import Image, Map


def l2_map(image: Image, reconstruction: Image) -> Map:
    """Squared difference at each pixel, averaged over channels; in [0, 4] for images in [-1, 1]."""
    return jnp.mean((image - reconstruction) ** 2, axis=-1)


def image_scores(maps: Float[np.ndarray, "n h w"]) -> Float[np.ndarray, " n"]:
    """Anomaly score of each image, float64: the mean of its map (paper, section 3.1), never clamped."""
    return maps.mean(axis=(1, 2), dtype=np.float64)

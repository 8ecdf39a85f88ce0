"""From images and reconstructions to anomaly scores."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from i3ad_jax.shapes import Image, Map


def l2_map(image: Image, reconstruction: Image) -> Map:
    """Squared difference at each pixel, averaged over channels; in [0, 4] for images in [-1, 1]."""
    return jnp.mean((image - reconstruction) ** 2, axis=-1)


def image_scores(maps: Float[np.ndarray, "n h w"], *, top_fraction: float = 1.0) -> Float[np.ndarray, " n"]:
    """Anomaly score of each image, float64, never clamped: the mean of its map (paper, section 3.1).

    With a `top_fraction` below 1 the mean of that fraction of its pixels, the highest, at least one: a small
    defect then counts as much as a large one. Not in the paper.
    """
    if top_fraction == 1:
        return maps.mean(axis=(1, 2), dtype=np.float64)
    pixels = maps.reshape(len(maps), -1)
    count = max(round(top_fraction * pixels.shape[1]), 1)
    return np.partition(pixels, -count)[:, -count:].mean(axis=1, dtype=np.float64)

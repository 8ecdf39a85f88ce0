"""Anomaly maps at several scales. Not in the paper.

Source: Zavrtanik et al. 2021 (RIAD), there of gradients.

What a reconstruction blurs or shifts a little differs at the finest scale alone, a defect at coarse
ones too.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from i3ad_jax.shapes import Image, Map

NUM_SCALES = 4  # RIAD's
SMALLEST_SIDE = 16  # pixels; SSIM's window has 11


def multi_scale(
    distance: Callable[[Image, Image], Map], image: Image, reconstruction: Image
) -> Map:
    """Return the mean distance at full size, half of it, and so on: at most `NUM_SCALES` scales.

    A pixel of a coarser scale is the mean of four; coarse maps are enlarged linearly.

    Args:
        distance: gives a map of two images of one size.
        image: in [-1, 1].
        reconstruction: of the image, in [-1, 1].
    """
    shape, maps = image.shape[:2], []
    for _ in range(NUM_SCALES):
        maps.append(jax.image.resize(distance(image, reconstruction), shape, "linear"))
        if min(image.shape[:2]) < 2 * SMALLEST_SIDE or any(side % 2 for side in image.shape[:2]):
            break
        image, reconstruction = _halve(image), _halve(reconstruction)
    return jnp.mean(jnp.stack(maps), axis=0)


def _halve(image: Image) -> Float[Array, "h2 w2 c"]:
    height, width, channels = image.shape
    return image.reshape(height // 2, 2, width // 2, 2, channels).mean(axis=(1, 3))

"""Images at other sizes: reduced by whole numbers, maps enlarged; in NumPy and in JAX programs."""

import math
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from i3ad_jax.data.images import Size
from i3ad_jax.runtime.precision import exact_products
from i3ad_jax.shapes import AnyArray


def halved(size: Size, count: int) -> list[Size]:
    """Return `count` sizes: this one, half of it, and so on."""
    height, width = size
    return [(height >> times, width >> times) for times in range(count)]


def reduce_pixels(images: UInt8[AnyArray, "*n h w 3"], size: Size) -> UInt8[AnyArray, "*n h2 w2 3"]:
    """Return the means of blocks of pixels, 8 bits, halves rounded up.

    Args:
        images: images of a height and width that are multiples of `size`.
        size: of the result.
    """
    xp: Any = images.__array_namespace__()
    blocks, count = _blocks(images, size)
    if count == 1:
        return images
    # Row by row, which NumPy adds fast, and then across: both at once take four times as long.
    total = blocks.sum(axis=-4, dtype=np.int32).sum(axis=-2, dtype=np.int32)
    # An eighth of the least difference more: a product with an inverse may round a half down.
    rounded = xp.floor(total * np.float32(1 / count) + np.float32(0.5 + 0.125 / count))
    return rounded.astype(np.uint8)


def reduce_values(values: Float[AnyArray, "*n h w c"], size: Size) -> Float[AnyArray, "*n h2 w2 c"]:
    """Return the means of blocks of pixels; sizes as for `reduce_pixels`."""
    blocks, count = _blocks(values, size)
    return values if count == 1 else blocks.mean(axis=(-4, -2))


def enlarge(values: Float[AnyArray, "n h w *rest"], size: Size) -> Float[AnyArray, "n h2 w2 *rest"]:
    """Return values of each pixel at a larger size, interpolated linearly."""
    if tuple(values.shape[1:3]) == size:
        return values
    xp: Any = values.__array_namespace__()
    down, across = (
        _interpolation(before, after) for before, after in zip(values.shape[1:3], size, strict=True)
    )
    last = xp.moveaxis(values, (1, 2), (-2, -1))
    with exact_products():
        enlarged = xp.matmul(xp.matmul(down, last), across.T)
    return xp.moveaxis(enlarged, (-2, -1), (1, 2))


def _blocks(values: Any, size: Size) -> tuple[Any, int]:
    """Return arrays `*n h2 down w2 across c`, and how many pixels a block has."""
    *n, height, width, channels = values.shape
    down, across = height // size[0], width // size[1]
    return values.reshape(*n, size[0], down, size[1], across, channels), math.prod((down, across))


@cache
def _interpolation(before: int, after: int) -> Float[np.ndarray, "after before"]:
    """The matrix that interpolates a line of pixels, each a value at its centre."""
    centres = (np.arange(after) + 0.5) * (before / after) - 0.5
    lines = [np.interp(centres, np.arange(before), line) for line in np.eye(before)]
    return np.stack(lines, axis=1).astype(np.float32)

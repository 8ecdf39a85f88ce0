"""Small pictures of all test images within a budget, so that a page of many images stays small."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from i3ad_jax import pictures
from i3ad_jax.data.stored import Rows

SIDE = 128  # pixels, at most: a defect is still seen, and an image of 64 x 64 keeps every pixel
BUDGET = 4_000_000  # characters, for all: some 400 images of 128 x 128, or 1,000 of 64 x 64
_QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """An image as `data:` addresses: itself, and under its anomaly map."""

    input: str
    heat: str


def thumbnails(
    images: UInt8[Rows, "n h w 3"],
    maps: Float[Rows, "n h w"],
    order: Iterable[int],
    *,
    vmax: float,
    budget: int = BUDGET,
) -> dict[int, Thumbnail]:
    """Thumbnails by index, in the given order, as many as fit the budget.

    Args:
        images: uint8 RGB.
        maps: their anomaly maps.
        order: indices of images, the most instructive first.
        vmax: the maps' value of the hottest colour.
        budget: the characters that all addresses together have at most.
    """
    found: dict[int, Thumbnail] = {}
    for index in order:
        heat = pictures.overlay(images[index], maps[index], vmax=vmax)
        own = Thumbnail(_small(images[index]), _small(heat))
        budget -= len(own.input) + len(own.heat)
        if budget < 0:
            break
        found[index] = own
    return found


def _small(pixels: UInt8[np.ndarray, "h w 3"]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return pictures.data_uri(picture, lossless=False, quality=_QUALITY)

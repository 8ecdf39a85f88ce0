"""Images of noise, and patches found in them."""

from typing import Any

import numpy as np

from i3ad_jax.preprocessing.preprocessing import Preprocessing

RNG = np.random.default_rng(0)


def noise(count: int, height: int, width: int) -> np.ndarray:
    """Images of noise, in which each place is like no other, of differing exposure."""
    exposure = RNG.uniform(0.3, 1, (count, 1, 1, 1))
    return (exposure * RNG.integers(0, 256, (count, height, width, 3))).astype(np.uint8)


def learn(images: np.ndarray, *, side: int, **settings: Any) -> Preprocessing:
    return Preprocessing.learn(images, images[:2], side=side, **settings)


def levelled(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    return np.stack([preprocessing.units.levelled(image) for image in images])


def windows(image: np.ndarray, side: int) -> np.ndarray:
    """All crops of an image: `rows columns side side 3`."""
    found = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
    return np.moveaxis(found, 2, -1)


def place_of(square: np.ndarray, image: np.ndarray) -> tuple[int, int] | None:
    """The first row and column of the image's crop that a square is, if it is one."""
    distance = np.abs(windows(image, len(square)) - square).max(axis=(2, 3, 4))
    matches = np.argwhere(distance < 1e-5)
    assert len(matches) <= 1
    return (int(matches[0][0]), int(matches[0][1])) if len(matches) else None

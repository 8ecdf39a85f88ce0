"""The test-time loop as the paper has it, one step at a time, to check the compiled one."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from skimage.metrics import structural_similarity

from i3ad_jax.inpainting.refine import Inpaint, LoopSettings
from i3ad_jax.scoring.ssim import ssim_with


@partial(jax.jit, static_argnames="half")
def distance(original: Any, image: Any, *, half: bool = False) -> Any:
    """1 - SSIM of each pixel, or half of it."""
    return (1 - ssim_with(original)(image)) * (0.5 if half else 1)


def distance_by_skimage(original: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The same by scikit-image in float64."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pair = ((np.float64(original) + 1) / 2, (np.float64(image) + 1) / 2)
    result: Any = structural_similarity(*pair, data_range=1, channel_axis=-1, full=True, **options)
    return 1 - result[1].mean(axis=-1)


Score = Callable[[Any, Any], Any]


class Plain(NamedTuple):
    """Results of the plain loop: every image and mask, and the smallest distance of a score to
    u."""

    images: list[np.ndarray]
    masks: list[np.ndarray]
    margin: float


def plain_loop(
    inpaint: Inpaint,
    original: np.ndarray,
    *,
    u: float,
    settings: LoopSettings,
    score: Score = distance,
) -> Plain:
    """All of N iterations, one after the other, and no stopping."""
    height, width, _ = original.shape
    rows, columns = (
        np.arange(height) * settings.patches // height,
        np.arange(width) * settings.patches // width,
    )
    image = np.zeros_like(original)
    for row in (0, 1):
        for column in (0, 1):
            holes = np.outer(rows % 2 == row, columns % 2 == column)
            mask = holes[..., None].astype(np.float32)
            image[holes] = np.asarray(inpaint(original * (1 - mask), mask))[holes]  # pyright: ignore
    images, masks, margin = [image], [np.ones((height, width, 1), np.float32)], math.inf
    for _ in range(settings.iterations):
        scores = np.asarray(score(original, image))
        margin = min(margin, float(np.abs(scores - u).min()))
        holes = scores >= u
        if settings.shrink:
            holes &= masks[-1][..., 0] > 0
        mask = holes[..., None].astype(np.float32)
        base = original if settings.base == "original" else image
        image = np.where(mask > 0, inpaint(base * (1 - mask), mask), base)  # pyright: ignore
        images.append(image)
        masks.append(mask)
    return Plain(images, masks, margin)

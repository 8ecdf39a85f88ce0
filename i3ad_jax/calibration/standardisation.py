"""Anomaly maps in units of what normal images show there. Not in the paper.

A network reconstructs some places worse than others whatever the image: edges, print, the middle of
the checkerboard's patches. Less the mean residual that unseen normal images have at a pixel, and
over its standard deviation, a residual says how unusual it is. Aligned objects have such statistics
for each pixel; textures may have none but those of all pixels together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from jaxtyping import Float

from i3ad_jax.settings import Settings, setting
from i3ad_jax.shapes import AnyArray

Standardise = Literal["pixel", "global", "none"]
# A pixel's own residuals are few. To those of n normal images come those of so many more, in which
# the pixel is like all pixels: where the n happen to agree, a deviation of nearly 0 would make an
# alarm of anything. With one image more none falls below 1 / sqrt(n + 1) of the global one.
PRIOR_IMAGES = 1
# pixels: a pixel's statistics are those of its near neighbours too, as if of more images
NEIGHBOURHOOD_SD = 1.0
SMALLEST_SD = 1e-6  # maps are float32 and of order 1: less than this is rounding


@dataclass(frozen=True)
class ScoringSettings(Settings):
    """The calibrated scores. Not in the paper, whose scores are means of maps."""

    standardise: Literal["auto", "pixel", "global", "none"] = "auto"
    """Calibrated maps are in standard deviations from what held-out normal images show: at each
    pixel, for aligned objects, or at all together, for textures; auto lets those images decide."""
    pooling: Literal["auto", "mean", "top_10", "top_1", "top_03", "top_01", "top_003", "peak"] = (
        "auto"
    )
    """Pooling of a calibrated map to an image score, or to a part of the combined one. mean: of all
    pixels. top_10, top_1, top_03, top_01, top_003: the mean of the highest 10 %, 1 %, 0.3 %, 0.1 %
    or 0.03 % of its pixels. peak: of the smoothed map. auto: the pooling that finds most synthetic
    defects in held-out normal images."""
    planted_images: int = setting(160, minimum=1, maximum=10_000)
    """Number of copies of held-out images with a synthetic defect each, by which poolings and the
    weights of the combined score are chosen."""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of normal images' anomaly maps at each pixel, float32.

    Raises:
        ValueError: they differ in shape, a number is not finite, or a standard deviation is not
            above 0.
    """

    mean: Float[np.ndarray, "h w"]
    sd: Float[np.ndarray, "h w"]

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.mean.shape != self.sd.shape:
            raise ValueError(f"shapes {self.mean.shape} and {self.sd.shape}")
        if not (
            np.isfinite(self.mean).all() and np.isfinite(self.sd).all() and (self.sd > 0).all()
        ):
            raise ValueError("must be finite, and standard deviations above 0")

    def standardise(self, maps: Float[AnyArray, "*n h w"]) -> Float[AnyArray, "*n h w"]:
        """Maps less the mean, over the standard deviation."""
        return (maps - self.mean) / self.sd

    def rescaled(self, shift: float, factor: float) -> "Statistics":
        """Statistics by which standardised maps are less `shift`, over `factor`."""
        return Statistics(
            (self.mean + shift * self.sd).astype(np.float32), (factor * self.sd).astype(np.float32)
        )


def statistics(maps: Float[np.ndarray, "n h w"], kind: Standardise) -> Statistics:
    """Return the statistics of normal images' maps: of each pixel, of all pixels, or none.

    Those of "none" are 0 and 1, which change nothing.
    """
    return _blend(len(maps), *_moments(maps), kind)


def leave_one_out(maps: Float[np.ndarray, "n h w"], kind: Standardise) -> Iterator[Statistics]:
    """Return for each map the statistics of all others; a single map gets its own."""
    count, (first, second) = len(maps), _moments(maps)
    for own in maps.astype(np.float64):
        if count == 1:
            yield _blend(count, first, second, kind)
        else:
            others = (count * first - own) / (count - 1), (count * second - own**2) / (count - 1)
            yield _blend(count - 1, *others, kind)


def choose(maps: Float[np.ndarray, "n h w"]) -> tuple[Standardise, dict[str, float]]:
    """Choose statistics of each pixel or of all, by how well each predicts a normal image.

    Returns the choice and how well both do. The measure is the log-likelihood of a pixel, as a
    Gaussian's of the mean and the standard deviation that all other images give, averaged over
    pixels and images: cross-validation, on normal images alone.
    """
    fit: dict[str, float] = {}
    for kind in ("global", "pixel"):
        pairs = zip(maps, leave_one_out(maps, kind), strict=True)
        fit[kind] = float(
            np.mean(
                [scipy.stats.norm.logpdf(own, other.mean, other.sd).mean() for own, other in pairs]
            )
        )
    return ("pixel" if fit["pixel"] > fit["global"] else "global"), fit


def _moments(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square of each pixel, float64."""
    return maps.mean(axis=0, dtype=np.float64), np.mean(maps.astype(np.float64) ** 2, axis=0)


def _blend(count: int, first: np.ndarray, second: np.ndarray, kind: Standardise) -> Statistics:
    """The statistics that the moments of `count` images give."""
    if kind == "none":
        return Statistics(np.zeros(first.shape, np.float32), np.ones(first.shape, np.float32))
    own = count / (count + PRIOR_IMAGES) if kind == "pixel" else 0.0
    first, second = (
        own * scipy.ndimage.gaussian_filter(moment, NEIGHBOURHOOD_SD) + (1 - own) * moment.mean()
        for moment in (first, second)
    )
    variance = np.maximum(second - first**2, SMALLEST_SD**2)
    return Statistics(first.astype(np.float32), np.sqrt(variance).astype(np.float32))

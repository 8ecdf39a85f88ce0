"""Structural similarity of two images, pixel by pixel (Wang et al. 2004; paper, appendix A)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from i3ad_jax.cpu.local_mean import local_mean
from i3ad_jax.settings import Settings
from i3ad_jax.shapes import Image, Map

WINDOW_SIZE = 11
GAUSSIAN_SD = 1.5
CONSTANTS = {"squared": (0.01**2, 0.03**2), "printed": (0.01, 0.03)}


@dataclass(frozen=True)
class SsimSettings(Settings):
    """SSIM, and the anomaly score made of it."""

    ssim_window: Literal["gaussian", "uniform"] = "gaussian"
    """Weights of the 11 x 11 SSIM window: Gaussian of standard deviation 1.5, or uniform."""
    ssim_constants: Literal["squared", "printed"] = "squared"
    """SSIM's c1, c2: 0.01**2, 0.03**2 (Wang et al. 2004), or 0.01, 0.03 as the paper prints
    them."""
    ssim_score: Literal["distance", "half"] = "distance"
    """Anomaly score of a pixel: 1 - SSIM, or half of it."""


SSIM_SETTINGS = frozenset(SsimSettings().flat())
"""Names of the settings, for a method whose loss is made of SSIM."""


def ssim_anomaly(image: Image, settings: SsimSettings) -> Callable[[Image], Map]:
    """Return a function for the SSIM anomaly score, a_i(x), of reconstructions of `image`.

    The function gives it for each pixel. The score is in [0, 2]. The function is a pytree: it can
    be `vmap`ped over, indexed and carried by a loop.

    Deviation: the paper's section 2.3 writes a_i = SSIM but masks where a_i >= u; only 1 - SSIM (or
    half of it) makes that mask what differs.
    """
    ssim = ssim_with(image, window=settings.ssim_window, constants=settings.ssim_constants)
    scale = 0.5 if settings.ssim_score == "half" else 1.0
    return jax.tree_util.Partial(
        lambda ssim, reconstruction: scale * (1 - ssim(reconstruction)), ssim
    )


def ssim_with(
    reference: Image,
    *,
    window: Literal["gaussian", "uniform"] = "gaussian",
    constants: Literal["squared", "printed"] = "squared",
) -> Callable[[Image], Map]:
    """Return a function for the SSIM with `reference` at each pixel, averaged over channels.

    The reference's own moments are computed here, once, however often the function is called.

    Args:
        reference: in [-1, 1]. SSIM is taken of intensities in [0, 1], a data range of 1.
        window: weights of the 11 x 11 neighbourhood; borders are mirrored.
        constants: c1 and c2, as `CONSTANTS` names them.

    Returns:
        A function of an image of the reference's shape, in [-1, 1], to a float32 map in [-1, 1]; 1
        means equal. It works in float32 whatever the image's type. It is a pytree, whose leaves are
        the moments.
    """
    c1, c2 = CONSTANTS[constants]
    # In full float32: the variances below are small differences of large numbers.
    mean_of_window = partial(local_mean, weights=_window(window))

    # Variances do not change with the origin, but lose fewer digits where it is near the
    # intensities.
    origin = jnp.mean(_intensity(reference), axis=(0, 1))
    x0 = _intensity(reference) - origin
    mean0 = mean_of_window(x0)
    variance0 = mean_of_window(x0 * x0) - mean0 * mean0

    def ssim(moments: tuple[Array, ...], image: Image) -> Map:
        origin, x0, mean0, variance0 = moments
        x = _intensity(image) - origin
        mean = mean_of_window(x)
        variance = mean_of_window(x * x) - mean * mean
        covariance = mean_of_window(x0 * x) - mean0 * mean
        brightness0, brightness = mean0 + origin, mean + origin
        luminance = (2 * brightness0 * brightness + c1) / (brightness0**2 + brightness**2 + c1)
        structure = (2 * covariance + c2) / (variance0 + variance + c2)
        return jnp.mean(luminance * structure, axis=-1)

    return jax.tree_util.Partial(ssim, (origin, x0, mean0, variance0))


def _intensity(image: Image) -> Image:
    return (image.astype(jnp.float32) + 1) / 2


def _window(name: str) -> Float[np.ndarray, " n"]:
    """The window's weights along one axis."""
    offsets = np.arange(WINDOW_SIZE) - WINDOW_SIZE // 2
    gaussian = name == "gaussian"
    weights = np.exp(-0.5 * (offsets / GAUSSIAN_SD) ** 2) if gaussian else np.ones(WINDOW_SIZE)
    return weights / weights.sum()

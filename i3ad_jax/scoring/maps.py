"""The anomaly scores, each a comparison of an image with its reconstruction.

To add one: a function and a row.

A score has a map, higher where a pixel looks more anomalous, and an image score made of the map.
Calibrated scores are made of the maps of others: see `calibration/standardisation.py`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jaxtyping import Array, Float

from i3ad_jax.errors import InputError
from i3ad_jax.runtime.precision import exact_products
from i3ad_jax.scoring.multi_scale import multi_scale
from i3ad_jax.scoring.ssim import SsimSettings, ssim_anomaly
from i3ad_jax.shapes import AnyArray, Image, Map

AnomalyMaps = dict[str, Float[np.ndarray, "n h w"]]  # by score, float32
# of copies with planted defects, in their own number
PlantedMaps = dict[str, Float[np.ndarray, "m h w"]]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pair:
    """An image and its reconstruction.

    Attributes:
        image: in [-1, 1].
        reconstruction: in [-1, 1].
        features: of both, as a discriminator sees them; None for a method without one.
    """

    image: Float[Array, "*b h w c"]
    reconstruction: Float[Array, "*b h w c"]
    features: tuple[Float[Array, "*b f"], Float[Array, "*b f"]] | None = None


@dataclass(frozen=True)
class Score:
    """A row of the table.

    Attributes:
        name: in files, flags and Python.
        label: for people.
        map: gives the map of a pair; None for a calibrated score, whose map is made of another's,
            and for the one that a method gives without a reconstruction.
        heat_limit: the map's value of the hottest colour in pictures.
        calibrated: whether there is also a calibrated score of this map, named NAME_calibrated.
        needs: outputs that it needs besides the images: it exists only for methods that give it.
        source: the name of the score that a calibrated one is made of.
    """

    name: str
    label: str
    map: Callable[[Pair, SsimSettings], Map] | None
    heat_limit: float
    calibrated: bool = True
    needs: str | None = None
    source: str | None = None


def l2_map(image: Image, reconstruction: Image) -> Map:
    """Squared difference at each pixel, averaged over channels; in [0, 4] for images in [-1, 1]."""
    return jnp.mean((image - reconstruction) ** 2, axis=-1)


def _l2(pair: Pair, _: SsimSettings) -> Map:
    return l2_map(pair.image, pair.reconstruction)


def _ssim(pair: Pair, ssim: SsimSettings) -> Map:
    return ssim_anomaly(pair.image, ssim)(pair.reconstruction)


def _ms_ssim(pair: Pair, ssim: SsimSettings) -> Map:
    return multi_scale(lambda a, b: ssim_anomaly(a, ssim)(b), pair.image, pair.reconstruction)


def _l2_ld(pair: Pair, _: SsimSettings) -> Map:
    """The L2 map plus the mean squared distance of the features, a number for the whole image.

    A(x) of Schlegl et al. 2019, equation 5, with kappa 1.
    """
    assert pair.features is not None
    of_image, of_reconstruction = pair.features
    return l2_map(pair.image, pair.reconstruction) + jnp.mean((of_image - of_reconstruction) ** 2)


def _calibrated(score: Score) -> Score:
    """The calibrated score that is made of a plain one."""
    name, label = f"{score.name}_calibrated", f"{score.label} calibrated"
    return Score(name, label, None, 10.0, calibrated=False, needs=score.needs, source=score.name)


SEGMENTATION = "segmentation"
PLAIN = [
    Score("l2", "L2", _l2, heat_limit=0.25),
    Score("ssim", "SSIM", _ssim, heat_limit=1.0),
    Score("ms_ssim", "MS-SSIM", _ms_ssim, heat_limit=1.0),
    Score("l2_ld", "L2 + L_D", _l2_ld, heat_limit=0.25, calibrated=False, needs="features"),
    Score(SEGMENTATION, "Segmentation", None, heat_limit=1.0, needs=SEGMENTATION),
]
# Of each calibrated map ten standard deviations are the hottest colour.
CALIBRATED = [_calibrated(score) for score in PLAIN if score.calibrated]
COMBINED = Score("combined", "Combined", None, 10.0, calibrated=False)
"""Its map is the weighted mean of others: see `calibration/fusion.py`."""
SCORES = {score.name: score for score in (*PLAIN, *CALIBRATED, COMBINED)}

Pooling = Literal["top_1", "top_03", "top_01", "top_10", "top_003", "peak", "mean"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
"""Poolings, in order: of equally good ones, the first is taken."""
PAPER: Pooling = "mean"
"""Pooling of plain scores."""
TOP_FRACTIONS = {
    "top_10": 0.1,
    "top_1": 0.01,
    "top_03": 0.003,
    "top_01": 0.001,
    "top_003": 0.0003,
}
NEEDS = ("features",)  # that a pair may have
PEAK_SD = 1 / 128  # of the square root of a map's number of pixels: what a peak is smoothed by


def register_score(score: Score) -> None:
    """Add a score of your own to the table, and its calibrated score, for this process.

    Register it before a detector is fitted or loaded: what was calibrated without it lacks it, and
    a run that has it can be loaded only where it is registered. Compiled programs are dropped.

    Args:
        score: with a `map` that JAX can trace, for one image.

    Raises:
        InputError: there is such a score already, it has no `map`, or its `needs` is unknown.
    """
    added = [score, _calibrated(score)] if score.calibrated else [score]
    if taken := [own.name for own in added if own.name in SCORES]:
        raise InputError(f"score {taken[0]}: is in the table already; choose another name")
    if score.map is None or score.source is not None:
        raise InputError(f"score {score.name}: needs a map, and no source")
    if score.needs not in (None, *NEEDS):
        raise InputError(f"score {score.name}: needs {score.needs!r}, which is none of {NEEDS}")
    PLAIN.append(score)
    CALIBRATED.extend(added[1:])
    SCORES.clear()
    SCORES.update({own.name: own for own in (*PLAIN, *CALIBRATED, COMBINED)})
    jax.clear_caches()  # of programs that were traced with the table as it was


def plain_maps(pair: Pair, ssim: SsimSettings) -> dict[str, Map]:
    """Return the map of each plain score of one pair, by name; to be `vmap`ped.

    Plain scores are not calibrated.
    """
    return {
        score.name: score.map(pair, ssim)
        for score in PLAIN
        if score.map is not None and (score.needs is None or getattr(pair, score.needs) is not None)
    }


def image_scores(maps: Float[AnyArray, "n h w"], pooling: Pooling) -> Float[AnyArray, " n"]:
    """Anomaly score of each image, never clamped: float64 of NumPy's arrays, float32 in a program.

    Args:
        maps: of one score.
        pooling: "mean" of the map (paper, section 3.1). A name of `TOP_FRACTIONS`: the mean of its
            highest pixels, at least one, so that a small defect counts as much as a large one.
            "peak": the maximum of the smoothed map. Only the mean is in the paper.
    """
    xp: Any = maps.__array_namespace__()
    number, height, width = maps.shape
    if pooling == "mean":
        return xp.mean(maps, axis=(1, 2), dtype=float)
    if pooling == "peak":
        sd = PEAK_SD * math.sqrt(height * width)
        if isinstance(maps, np.ndarray):
            smoothed = scipy.ndimage.gaussian_filter(maps, (0, sd, sd))
        else:  # the same as products: few kinds of operations for an exported program
            with exact_products():
                down, across = _smoothing(height, sd), _smoothing(width, sd)
                smoothed = xp.matmul(xp.matmul(down, maps), across.T)
        return smoothed.max(axis=(1, 2)).astype(float)
    count = max(round(TOP_FRACTIONS[pooling] * height * width), 1)
    pixels = maps.reshape(number, height * width)
    highest = xp.partition(pixels, -count)[:, -count:]
    return highest.mean(axis=1, dtype=float)


@cache
def _smoothing(length: int, sd: float) -> Float[np.ndarray, "length length"]:
    """The matrix that smooths a line of pixels by a Gaussian, mirroring at both ends."""
    return scipy.ndimage.gaussian_filter1d(np.eye(length), sd, axis=0).astype(np.float32)

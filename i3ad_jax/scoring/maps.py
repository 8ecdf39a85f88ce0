"""The anomaly scores: how each compares an image with its reconstruction. A new one is a function and a row.

A score has a map, higher where a pixel looks more anomalous, and an image score made of the map. Calibrated
scores are made of the maps of others: see `standardisation.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from i3ad_jax.scoring.multi_scale import multi_scale
from i3ad_jax.scoring.ssim import SsimSettings, ssim_anomaly
from i3ad_jax.shapes import Image, Map

AnomalyMaps = dict[str, Float[np.ndarray, "n h w"]]  # by score, float32


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
        map: gives the map of a pair; None for a calibrated score, whose map is made of another's.
        heat_limit: the map's value of the hottest colour in pictures.
        calibrated: whether there is also a calibrated score of this map, named NAME_calibrated.
        needs_features: whether it exists only for methods that have features.
        source: the name of the score that a calibrated one is made of.
    """

    name: str
    label: str
    map: Callable[[Pair, SsimSettings], Map] | None
    heat_limit: float
    calibrated: bool = True
    needs_features: bool = False
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


PLAIN = (
    Score("l2", "L2", _l2, heat_limit=0.25),
    Score("ssim", "SSIM", _ssim, heat_limit=1.0),
    Score("ms_ssim", "MS-SSIM", _ms_ssim, heat_limit=1.0),
    Score("l2_ld", "L2 + L_D", _l2_ld, heat_limit=0.25, calibrated=False, needs_features=True),
)
# Of each calibrated map ten standard deviations are the hottest colour.
CALIBRATED = tuple(
    Score(f"{s.name}_calibrated", f"{s.label} calibrated", None, 10.0, calibrated=False, source=s.name)
    for s in PLAIN
    if s.calibrated
)
SCORES = {score.name: score for score in (*PLAIN, *CALIBRATED)}


def plain_maps(pair: Pair, ssim: SsimSettings) -> dict[str, Map]:
    """The map of each score of a pair that is not calibrated, by name; of one pair, to be `vmap`ped."""
    return {
        score.name: score.map(pair, ssim)
        for score in PLAIN
        if score.map is not None and (pair.features is not None or not score.needs_features)
    }


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

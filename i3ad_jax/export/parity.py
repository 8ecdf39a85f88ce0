"""Comparison of an exported program's scores with those of its run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.runtime.progress import progress_bar, with_progress
from i3ad_jax.scoring.maps import PLAIN, SCORES

BATCH = 8  # images


class Differences(NamedTuple):
    """Differences of image scores, relative where a score is above 1 or below -1.

    Calibrated scores are plain ones over how much normal images vary, often by little: their unit
    is a standard deviation, and what is rounding in a plain score is the larger in them.

    Attributes:
        plain: of scores whose unit is that of pixels.
        calibrated: of the others.
    """

    plain: float
    calibrated: float


class Parity(NamedTuple):
    """Return the differences of image scores from the run's.

    Attributes:
        images: compared.
        largest: differences.
        allowed: differences.
    """

    images: int
    largest: Differences
    allowed: Differences

    def to_json(self) -> dict[str, Any]:
        """Return the differences as JSON values."""
        return {
            "images": self.images,
            "largest": self.largest._asdict(),
            "allowed": self.allowed._asdict(),
        }


def check_parity(
    detector: Detector,
    program: Callable[[np.ndarray], dict[str, Any]],
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    allowed: Differences,
    batch: int = BATCH,
) -> Parity:
    """Compares scores and verdicts of images of the working size with the run's.

    Verdicts have to be the run's but where the score is the threshold itself, within what is
    allowed.

    Args:
        detector: the run's.
        program: exported program, as in `Scored`.
        images: at least one.
        allowed: differences of scores.
        batch: images that the program is given together.

    Raises:
        InputError: a score differs by more, or a verdict does.
    """
    with progress_bar("scores of the run", len(images), unit="image", compiles=True) as bar:
        expected = detector.calibration.image_scores(detector.anomaly_maps(images, bar=bar))
    starts = with_progress(
        range(0, len(images), batch), "scores of the program", unit="call", leave=False
    )
    found = [program(images[start : start + batch]) for start in starts]
    largest = dict.fromkeys(Differences._fields, 0.0)
    for name, own in expected.items():
        scores, anomalous = (
            np.concatenate([np.asarray(part[kind][name]) for part in found])
            for kind in ("scores", "anomalous")
        )
        kind = "plain" if SCORES[name] in PLAIN else "calibrated"
        limit, difference = getattr(allowed, kind), largest_difference(scores, own)
        if difference > limit:
            raise InputError(
                f"--out: not written, as the program's {name} differs from the run's by"
                f" {difference:.2g} on {len(images)} images; {limit:g} is allowed"
            )
        threshold = detector.calibration.thresholds[name]
        clear = np.abs(own - threshold) > limit * _unit(own)
        if np.any(clear & (anomalous != (own > threshold))):
            raise InputError(
                f"--out: not written, as a verdict by the program's {name} is not the run's"
            )
        largest[kind] = max(largest[kind], difference)
    return Parity(len(images), Differences(**largest), allowed)


def largest_difference(scores: Float[np.ndarray, " n"], expected: Float[np.ndarray, " n"]) -> float:
    """Return the largest difference, relative where a score is above 1 or below -1.

    It is infinite if one is not a number.
    """
    return float(np.nan_to_num(np.max(np.abs(scores - expected) / _unit(expected)), nan=np.inf))


def _unit(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.maximum(np.abs(scores), 1)

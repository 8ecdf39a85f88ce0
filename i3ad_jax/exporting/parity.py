"""Whether an exported program says what its run says."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError

BATCH = 8  # images


class Parity(NamedTuple):
    """How far image scores are from the run's, at most.

    Attributes:
        images: compared.
        difference: the largest, relative where a score is more than 1 or less than -1.
        tolerance: what it may be.
    """

    images: int
    difference: float
    tolerance: float


def check_parity(
    detector: Detector,
    program: Callable[[np.ndarray], dict[str, Any]],
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    tolerance: float,
    batch: int = BATCH,
) -> Parity:
    """Compares scores and verdicts of images of the working size with the run's.

    Verdicts have to be the run's but where the score is the threshold itself, within the tolerance.

    Args:
        detector: the run's.
        program: what was exported, as `Scored` has it.
        images: at least one.
        tolerance: of the difference.
        batch: images that the program is given together.

    Raises:
        InputError: they differ by more.
    """
    expected = detector.calibration.image_scores(detector.anomaly_maps(images, label="scores of the run"))
    starts = tqdm(range(0, len(images), batch), "scores of the program", unit="batch", leave=False)
    found = [program(images[start : start + batch]) for start in starts]
    differences: dict[str, float] = {}
    for name, own in expected.items():
        scores, anomalous = (
            np.concatenate([np.asarray(part[kind][name]) for part in found])
            for kind in ("scores", "anomalous")
        )
        unit = np.maximum(np.abs(own), 1)
        differences[name] = float(np.nan_to_num(np.max(np.abs(scores - own) / unit), nan=np.inf))
        threshold = detector.calibration.thresholds[name]
        clear = np.abs(own - threshold) > tolerance * unit
        if np.any(clear & (anomalous != (own > threshold))):
            raise InputError(f"--out: not written, as a verdict by {name} of the program is not the run's")
    worst = max(differences, key=differences.__getitem__)
    if (largest := differences[worst]) > tolerance:
        raise InputError(
            f"--out: not written, as the program's scores differ from the run's by {largest:.2g} ({worst}) on"
            f" {len(images)} images; {tolerance:g} is allowed"
        )
    return Parity(len(images), largest, tolerance)

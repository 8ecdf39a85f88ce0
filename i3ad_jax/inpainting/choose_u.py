"""Thresholds chosen on normal images alone: u of the SSIM mask, and the score that counts as a defect."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

_PAPER_CANDIDATES = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50)
# By what stays outside the mask.
# Deviation: the paper's end at 0.50. On a rough surface, whose grain no network foretells, 1 - SSIM is above
# that here and there in a normal image too, and the loop drifts away; at 1 it masks hardly a pixel, and what
# the checkerboard pass inpainted stays. Where the original stays instead, that would be a perfect copy of it.
U_CANDIDATES = {
    "original": _PAPER_CANDIDATES,
    "previous": (*_PAPER_CANDIDATES, 0.60, 0.70, 0.80, 0.90, 1.00),
}
DEFECT_QUANTILE = 0.95


class ChosenU(NamedTuple):
    """The threshold u and the reason for it."""

    u: float
    reason: str


def choose_u(errors: Mapping[float, float], *, tolerance: float) -> ChosenU:
    """The smallest candidate u whose reconstruction error on normal images is below `tolerance`.

    The paper's rule (section 3.1), with more candidates. Where none gets there, the one of least error.

    Args:
        errors: mean L1 error, in [0, 1], of normal images for each candidate, from the smallest on.
        tolerance: in [0, 1].
    """
    for u, error in errors.items():
        if error < tolerance:
            return ChosenU(u, f"smallest u with an L1 error below {tolerance:g}: {error:.4g}")
    best = min(errors, key=errors.__getitem__)
    reason = f"no u has an L1 error below {tolerance:g}; this one has the smallest, {errors[best]:.4g}"
    return ChosenU(best, reason)


def defect_threshold(normal_scores: Float[np.ndarray, " n"]) -> float:
    """The score above which an image counts as defective: the 0.95 quantile of unseen normal images.

    About one normal image in twenty then raises a false alarm. Not in the paper, which only ranks.
    """
    return float(np.quantile(normal_scores, DEFECT_QUANTILE))

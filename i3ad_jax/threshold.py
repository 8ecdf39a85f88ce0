"""Thresholds chosen on normal images alone: u of the SSIM mask, and the score that counts as a defect."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

U_CANDIDATES = tuple(round(0.10 + 0.05 * i, 2) for i in range(9))  # 0.10, 0.15 .. 0.50
DEFECT_QUANTILE = 0.95


class ChosenU(NamedTuple):
    """The threshold u, the reason for it, and the mean L1 error of each candidate that was tried."""

    u: float
    reason: str
    errors: dict[str, float]


def choose_u(error_at: Callable[[float], float], *, tolerance: float) -> ChosenU:
    """The smallest candidate u whose reconstruction error on normal images is below `tolerance`.

    The paper's rule (section 3.1). Where no candidate gets there, the one with the smallest error.

    Args:
        error_at: mean L1 error, in [0, 1], of normal images after some iterations with a given u. It is
            called for 0.10, 0.15 .. 0.50 in turn, and no further once the rule is met.
        tolerance: in [0, 1].
    """
    errors: dict[str, float] = {}
    for u in U_CANDIDATES:
        errors[f"{u:.2f}"] = error = error_at(u)
        if error < tolerance:
            return ChosenU(u, f"smallest u with L1 error {error:.4g} below {tolerance:g}", errors)
    best = min(U_CANDIDATES, key=lambda u: errors[f"{u:.2f}"])
    reason = (
        f"no u has an L1 error below {tolerance:g}; this one has the smallest, {errors[f'{best:.2f}']:.4g}"
    )
    return ChosenU(best, reason, errors)


def defect_threshold(normal_scores: Float[np.ndarray, " n"]) -> float:
    """The score above which an image counts as defective: the 0.95 quantile of unseen normal images.

    About one normal image in twenty then raises a false alarm. Not in the paper, which only ranks.
    """
    return float(np.quantile(normal_scores, DEFECT_QUANTILE))

"""Thresholds and false-alarm rates, from the scores of normal images alone.

A threshold is the score above which an image counts as defective.
"""

import numpy as np
from jaxtyping import Float

from i3ad_jax.scoring.rates import Rate

DEFECT_QUANTILE = 0.95


def defect_threshold(
    normal_scores: Float[np.ndarray, " n"], *, quantile: float = DEFECT_QUANTILE
) -> float:
    """The score above which an image counts as defective: a quantile of unseen normal images.

    By 0.95, about one normal image in twenty raises a false alarm. Not in the paper, which only
    ranks.
    """
    return float(np.quantile(normal_scores, quantile))


def false_alarms(normal_scores: Float[np.ndarray, " n"], threshold: float) -> Rate:
    """Return how often normal images score above a threshold, from unseen normal images."""
    return Rate.of(int((normal_scores > threshold).sum()), len(normal_scores))

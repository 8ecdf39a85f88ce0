"""Thresholds and false-alarm rates, from the scores of normal images alone.

A threshold is the score above which an image counts as defective.
"""

from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float

DEFECT_QUANTILE = 0.95
_TAIL = 0.025  # outside the interval, on either side


def defect_threshold(
    normal_scores: Float[np.ndarray, " n"], *, quantile: float = DEFECT_QUANTILE
) -> float:
    """The score above which an image counts as defective: a quantile of unseen normal images.

    By 0.95, about one normal image in twenty raises a false alarm. Not in the paper, which only
    ranks.
    """
    return float(np.quantile(normal_scores, quantile))


class FalseAlarms(NamedTuple):
    """Fraction of normal images that a threshold calls anomalous, with its 95 % interval.

    The interval is a confidence interval.
    """

    rate: float
    low: float
    high: float


def false_alarms(normal_scores: Float[np.ndarray, " n"], threshold: float) -> FalseAlarms:
    """Rate at which normal images score above a threshold, by unseen normal images.

    The interval is that of Clopper and Pearson 1934 for this number of images. It is valid too
    where the threshold is a quantile of the same scores, whose distribution is then that of an
    order statistic.
    """
    count, above = len(normal_scores), int((normal_scores > threshold).sum())
    # As binomtest's of scipy.stats, which takes a third of a second to import.
    quantile = scipy.special.betaincinv
    low = quantile(above, count - above + 1, _TAIL) if above else 0.0
    high = quantile(above + 1, count - above, 1 - _TAIL) if above < count else 1.0
    return FalseAlarms(above / count, float(low), float(high))

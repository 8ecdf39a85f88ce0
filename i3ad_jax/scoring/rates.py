"""`Rate`: an observed fraction of images, with the interval that the true fraction is in."""

import math
from typing import NamedTuple

import scipy

_TAIL = 0.025  # outside the interval, on either side


class Rate(NamedTuple):
    """Observed fraction of images, with the 95 % confidence interval of the true fraction.

    The interval is that of Clopper and Pearson 1934. It is valid too for the images above a
    threshold that is a quantile of the same scores: their number is that of an order statistic.

    Attributes:
        rate: `number / total`.
        low: lower end of the interval.
        high: upper end of the interval.
        number: images with the property, such as those above a threshold.
        total: all images, at least one.
    """

    rate: float
    low: float
    high: float
    number: int
    total: int

    @classmethod
    def of(cls, count: int, total: int) -> "Rate":
        """Return the rate of `count` images among `total`."""
        # As binomtest's of scipy.stats, which takes a third of a second to import.
        quantile = scipy.special.betaincinv
        low = quantile(count, total - count + 1, _TAIL) if count else 0.0
        high = quantile(count + 1, total - count, 1 - _TAIL) if count < total else 1.0
        return cls(count / total, float(low), float(high), count, total)

    @property
    def interval(self) -> str:
        """The interval in per cent, such as "1.5 to 19.5 %"."""
        return f"{100 * self.low:.1f} to {100 * self.high:.1f} %"

    def __str__(self) -> str:
        share = f"{100 * self.rate:.1f} %, 95 % interval {self.interval}"
        return f"{self.number} of {self.total} ({share})"


def images_to_confirm(rate: float) -> int:
    """Return how many images confirm that a true rate is at most `rate`, in (0, 1).

    With none of this many images above a threshold, the upper end of the interval is `rate`.
    """
    return math.ceil(math.log(_TAIL) / math.log1p(-rate))

"""Distribution of an image score, and positions of a threshold slider, on one axis."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

POSITIONS = 400  # of the slider, about
TICKS = 5
_BARS = 40
_MARGIN = 0.02  # of the axis, at both ends: there every image is flagged, or none


@dataclass(frozen=True)
class Distribution:
    """Histograms of both classes from the first position of the slider to the last.

    Scores of defects may be a hundred times farther from the threshold than those of normal
    images. So the axis is an inverse hyperbolic sine, linear near the default threshold and
    logarithmic far from it: position p is the threshold `threshold + scale * sinh(p * step)`, and 0
    is exactly the default one.

    Attributes:
        threshold: the default threshold.
        scale: the distance from it, in units of the score, up to which the axis is about linear.
        step: of the slider.
        first: the lowest position, negative.
        last: the highest position, positive.
        normal: the number of normal images in each of as many equal parts of the axis.
        anomalous: the same for anomalous images.
    """

    threshold: float
    scale: float
    step: float
    first: int
    last: int
    normal: tuple[int, ...]
    anomalous: tuple[int, ...]

    def at(self, position: float) -> float:
        """The threshold at a position of the slider."""
        return self.threshold + self.scale * math.sinh(position * self.step)

    @property
    def ticks(self) -> list[float]:
        """Scores at evenly spaced places of the axis, from its left end to its right end."""
        return [
            self.at(position) for position in np.linspace(self.first, self.last, TICKS).tolist()
        ]

    @property
    def peak(self) -> int:
        """The number of images in the fullest bar."""
        return max(*self.normal, *self.anomalous)


def distribution(
    labels: Integer[np.ndarray, " n"], scores: Float[np.ndarray, " n"], *, threshold: float
) -> Distribution:
    """The distribution of finite scores, at least one.

    Args:
        labels: 0 for each normal image, 1 for each anomalous one.
        scores: of any range.
        threshold: the default one; it need not be between the scores.
    """
    distances = np.abs(scores - threshold)
    # The axis has a width even where scores differ from the threshold by rounding alone.
    least = max(1e-9 * abs(threshold), float(np.finfo(np.float32).tiny))
    scale = max(float(np.median(distances)), 1e-9 * float(distances.max()), least)
    places = np.arcsinh((scores - threshold) / scale)
    low, high = min(float(places.min()), -1.0), max(float(places.max()), 1.0)
    margin = _MARGIN * (high - low)
    step = (high - low + 2 * margin) / POSITIONS
    first, last = math.floor((low - margin) / step), math.ceil((high + margin) / step)
    edges = np.linspace(first * step, last * step, _BARS + 1)
    normal, anomalous = (
        tuple(np.histogram(places[labels == label], edges)[0].tolist()) for label in (0, 1)
    )
    return Distribution(threshold, scale, step, first, last, normal, anomalous)

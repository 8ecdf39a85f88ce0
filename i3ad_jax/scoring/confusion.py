"""`Confusion`: numbers of right and wrong decisions at a threshold."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer

from i3ad_jax.scoring.rates import Rate


class Confusion(NamedTuple):
    """Number of images of each class on each side of a threshold."""

    true_positives: int
    misses: int
    false_alarms: int
    true_negatives: int

    @classmethod
    def of(cls, labels: Integer[np.ndarray, " n"], above: Bool[np.ndarray, " n"]) -> "Confusion":
        """Count images.

        Args:
            labels: 0 for each normal image, 1 for each anomalous one.
            above: whether the score of each is above the threshold.
        """
        anomalous = labels == 1
        sides = (anomalous & above, anomalous & ~above, ~anomalous & above, ~anomalous & ~above)
        return cls(*(int(side.sum()) for side in sides))

    @property
    def miss_rate(self) -> Rate | None:
        """Fraction of the anomalous images that are missed; None without anomalous images."""
        anomalous = self.true_positives + self.misses
        return Rate.of(self.misses, anomalous) if anomalous else None

    @property
    def false_alarm_rate(self) -> Rate | None:
        """Fraction of the normal images that are flagged; None without normal images."""
        normal = self.false_alarms + self.true_negatives
        return Rate.of(self.false_alarms, normal) if normal else None

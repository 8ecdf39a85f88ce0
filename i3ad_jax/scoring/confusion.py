"""`Confusion`: numbers of right and wrong decisions at a threshold."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer


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

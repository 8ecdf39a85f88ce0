"""Counts of decisions against scikit-learn's confusion matrix."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from i3ad_jax.scoring.confusion import Confusion
from i3ad_jax.scoring.rates import Rate


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_counts_are_those_of_scikit_learn(share: float) -> None:
    rng = np.random.default_rng(0)
    labels, above = (rng.random(40) < share).astype(int), rng.random(40) < 0.4
    (normal, alarms), (misses, found) = confusion_matrix(labels, above, labels=[0, 1])
    counts = Confusion.of(labels, above)
    assert counts == (found, misses, alarms, normal)
    for rate, count, total in (
        (counts.miss_rate, misses, found + misses),
        (counts.false_alarm_rate, alarms, alarms + normal),
    ):
        assert rate == (Rate.of(int(count), int(total)) if total else None)

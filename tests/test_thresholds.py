"""Thresholds from normal images, and how often these exceed them."""

import numpy as np
import pytest

from i3ad_jax.calibration.thresholds import defect_threshold, false_alarms
from i3ad_jax.scoring.rates import Rate


@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.95])
def test_the_part_above_the_threshold(quantile: float) -> None:
    scores = np.random.default_rng(0).normal(size=1001)
    above = (scores > defect_threshold(scores, quantile=quantile)).mean()
    assert above == pytest.approx(1 - quantile, abs=1e-3)


def test_images_above_the_threshold_are_false_alarms() -> None:
    assert false_alarms(np.array([0.4, 0.5, 0.6]), 0.5) == Rate.of(1, 3)

"""Thresholds from normal images, and how often these exceed them."""

import numpy as np
import pytest
from scipy.stats import binomtest

from i3ad_jax.calibration.thresholds import defect_threshold, false_alarms


@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.95])
def test_the_part_above_the_threshold(quantile: float) -> None:
    scores = np.random.default_rng(0).normal(size=1001)
    above = (scores > defect_threshold(scores, quantile=quantile)).mean()
    assert above == pytest.approx(1 - quantile, abs=1e-3)


@pytest.mark.parametrize(
    ("above", "count"), [(0, 1), (1, 1), (0, 42), (3, 42), (42, 42), (500, 10_000)]
)
def test_the_interval_is_scipy_s(above: int, count: int) -> None:
    found = false_alarms(np.arange(count, dtype=float), threshold=count - above - 0.5)
    expected = binomtest(above, count).proportion_ci(0.95, method="exact")
    assert found == pytest.approx((above / count, expected.low, expected.high))

"""Rates, their intervals, and the number of images that confirms a rate."""

import pytest
from scipy.stats import binomtest

from i3ad_jax.scoring.rates import Rate, images_to_confirm


@pytest.mark.parametrize(
    ("count", "total"), [(0, 1), (1, 1), (0, 42), (3, 42), (42, 42), (500, 10_000)]
)
def test_the_interval_is_scipy_s(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci(0.95, method="exact")
    assert Rate.of(count, total)[:3] == pytest.approx((count / total, expected.low, expected.high))


def test_an_interval_is_in_per_cent() -> None:
    assert Rate.of(3, 42).interval == "1.5 to 19.5 %"


@pytest.mark.parametrize("rate", [0.5, 0.05, 0.01, 0.0001])
def test_fewer_images_do_not_confirm_a_rate(rate: float) -> None:
    number = images_to_confirm(rate)
    assert Rate.of(0, number).high <= rate < Rate.of(0, number - 1).high

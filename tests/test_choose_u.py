"""The paper's rule for u on made-up error curves, and the threshold for defects."""

import numpy as np
import pytest

from i3ad_jax.inpainting.choose_u import choose_u, defect_threshold

CANDIDATES = [0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50]


def by_candidate(*errors: float) -> dict[float, float]:
    return dict(zip(CANDIDATES, errors, strict=True))


def test_takes_the_smallest_u_below_the_tolerance() -> None:
    errors = by_candidate(0.09, 0.08, 0.05, 0.03, 0.06, 0.02, 0.01, 0.01, 0.01)
    u, reason = choose_u(errors, tolerance=0.04)
    assert u == 0.25
    assert reason == "smallest u with an L1 error below 0.04: 0.03"


def test_an_error_at_the_tolerance_is_not_below_it() -> None:
    errors = by_candidate(0.5, 0.5, *[0.25] * 7)
    assert choose_u(errors, tolerance=0.5).u == 0.20


@pytest.mark.parametrize("best", CANDIDATES)
def test_takes_the_smallest_error_where_none_is_below_the_tolerance(best: float) -> None:
    u, reason = choose_u({u: abs(u - best) + 0.2 for u in CANDIDATES}, tolerance=0.1)
    assert u == best
    assert reason == "no u has an L1 error below 0.1; this one has the smallest, 0.2"


def test_takes_the_smallest_u_of_equal_errors() -> None:
    assert choose_u(dict.fromkeys(CANDIDATES, 0.3), tolerance=0.1).u == 0.10


def test_defect_threshold_is_the_quantile_that_one_image_in_twenty_exceeds() -> None:
    scores = np.random.default_rng(0).normal(size=400)
    threshold = defect_threshold(scores)
    assert threshold == np.quantile(scores, 0.95)
    assert (scores > threshold).sum() == 20
    assert defect_threshold(np.array([3.0])) == 3.0

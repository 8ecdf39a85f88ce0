"""The slider reaches every count that a threshold can give; its middle is the default."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.report.distribution import POSITIONS, distribution


@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(-1e6, 1e6)), min_size=1, max_size=30),
    st.floats(-1e6, 1e6),
)
def test_ends_flag_every_image_and_none_and_the_middle_is_the_default(
    images: list[tuple[int, float]], threshold: float
) -> None:
    labels, scores = (
        np.array([label for label, _ in images]),
        np.array([score for _, score in images]),
    )
    own = distribution(labels, scores, threshold=threshold)
    assert own.at(0) == threshold
    assert own.first < 0 < own.last
    assert own.last - own.first <= POSITIONS + 2
    assert (scores > own.at(own.first)).all()
    assert not (scores > own.at(own.last)).any()
    assert np.isfinite(own.ticks).all()
    assert own.ticks == sorted(own.ticks)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(-1e3, 1e3)), min_size=1, max_size=30))
def test_bars_hold_every_image_on_its_side_of_the_threshold(
    images: list[tuple[int, float]],
) -> None:
    labels, scores = (
        np.array([label for label, _ in images]),
        np.array([score for _, score in images]),
    )
    own = distribution(labels, scores, threshold=0.5)
    assert sum(own.normal) == (labels == 0).sum()
    assert sum(own.anomalous) == (labels == 1).sum()
    assert own.peak >= 1
    # Bars that end below the line have no image that is flagged.
    edges = np.linspace(own.first, own.last, len(own.normal) + 1)
    below = int(np.searchsorted(edges, 0.0, side="right")) - 1
    assert sum(own.normal[:below]) + sum(own.anomalous[:below]) <= (scores <= 0.5).sum()
    assert sum(own.normal[below + 1 :]) + sum(own.anomalous[below + 1 :]) <= (scores >= 0.5).sum()


@pytest.mark.parametrize("far", [1.0, 1e3, 1e6])
def test_far_scores_leave_room_near_the_threshold(far: float) -> None:
    scores = np.concatenate([np.linspace(0, 1, 20), np.linspace(2, 2 + far, 10)])
    own = distribution(np.repeat([0, 1], [20, 10]), scores, threshold=1.0)
    thresholds = np.array([own.at(p) for p in range(own.first, own.last + 1)])
    # A position of the slider between any two of the normal scores.
    counts = {int((scores[:20] > threshold).sum()) for threshold in thresholds}
    assert counts == set(range(21))

"""The cases of a report are the extremes of both classes, none twice."""

import itertools

import numpy as np
import pytest

from i3ad_jax.report.cases import choose_cases


def test_cases_are_the_extremes_of_both_classes() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.15, 0.5, 0.6, 0.7])
    cases = choose_cases(labels, scores, count=4)
    assert [index for index, _ in cases] == [4, 3, 7, 0]
    assert len({group for _, group in cases}) == 4


@pytest.mark.parametrize("count", [0, 1, 3, 7, 12, 100])
@pytest.mark.parametrize("num_normal", [0, 2, 9])
def test_cases_are_distinct_and_as_many_as_there_are(count: int, num_normal: int) -> None:
    labels = np.repeat([0, 1], [num_normal, 5])
    scores = np.random.default_rng(0).integers(0, 3, len(labels)).astype(float)
    cases = choose_cases(labels, scores, count=count)
    indices = [index for index, _ in cases]
    assert len(indices) == len(set(indices)) == min(count, len(labels))
    assert all(
        group.startswith("Anomalous" if labels[index] else "Normal") for index, group in cases
    )


def test_cases_of_one_group_are_neighbours() -> None:
    labels = np.repeat([0, 1], 6)
    groups = [group for _, group in choose_cases(labels, np.arange(12.0), count=10)]
    changes = sum(before != after for before, after in itertools.pairwise(groups))
    assert changes == len(set(groups)) - 1

"""The cases of a report are the extremes of both classes, none twice."""

import itertools

import numpy as np
import pytest

from i3ad_jax.report.cases import choose_cases, regions_of
from i3ad_jax.scoring.regions import find_regions


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


def test_regions_are_detected_or_else_the_hottest() -> None:
    heat = np.zeros((8, 9), np.float32)
    heat[1:3, 1:4], heat[5, 5:8], heat[5, 6], heat[7, 0] = 0.8, 0.7, 1.0, 0.9
    for threshold in (0.6, 0.95):
        mask, detected = regions_of(heat, threshold)
        assert detected
        np.testing.assert_array_equal(mask, heat > threshold)
    for offset in (0.0, -5.0):
        for threshold in (None, 1.5):
            mask, detected = regions_of(heat + np.float32(offset), threshold)
            assert not detected
            assert np.argwhere(mask).tolist() == [[5, 5], [5, 6], [5, 7]]


@pytest.mark.parametrize("seed", range(3))
def test_the_hottest_region_is_the_region_that_predict_names_first(seed: int) -> None:
    heat = np.random.default_rng(seed).random((12, 15)).astype(np.float32)
    heat[4, 4], heat[5, 5] = 2.0, 1.5  # neighbours across a corner
    mask, _ = regions_of(heat, None)
    below = np.nextafter((heat.min() + heat.max()) / 2, np.float32(-np.inf))
    hottest = find_regions(heat, float(below))[0]
    assert mask[4, 4]
    assert mask[5, 5]
    assert mask.sum() == hottest.area
    rows, columns = np.nonzero(mask)
    assert (columns.min(), rows.min()) == (hottest.left, hottest.top)

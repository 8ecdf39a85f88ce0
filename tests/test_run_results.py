"""Decisions of a finished test at the default thresholds."""

from collections import Counter

import numpy as np
import pytest

from i3ad_jax.runs.run_results import flatten
from tests.support.run_results import KINDS, LABELS, make_run


@pytest.mark.parametrize("kind", KINDS)
def test_outcomes_counts_and_margins_agree(kind: str) -> None:
    run = make_run(seed=3)
    outcomes = np.array(run.outcomes(kind))
    confusion, counts = run.confusion(kind), Counter(run.outcomes(kind))
    assert sum(confusion) == len(LABELS)
    assert sorted(confusion) == sorted([*counts.values(), *[0] * (4 - len(counts))])
    right = np.isin(outcomes, ["found", "passed"])
    np.testing.assert_array_equal(run.margins(kind) > 0, right)
    distance = np.abs(run.scores[kind] - run.threshold(kind))
    np.testing.assert_array_equal(np.abs(run.margins(kind)), distance)


def test_nested_settings_are_flattened() -> None:
    values = {"a": 1, "b": {"c": [2], "d": {"e": None}, "f": {}}}
    assert flatten(values) == {"a": 1, "b.c": [2], "b.d.e": None}
    assert make_run().settings["data.image_size"] == 64

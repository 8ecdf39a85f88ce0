"""Classes of defects that score like normal images."""

import numpy as np
import pytest

from i3ad_jax.scoring.like_normal import LEAST, classes_like_normal

RNG = np.random.default_rng(0)


def found(shift: float, *, count: int = 40, seed: int = 0) -> bool:
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0, 1, 40), rng.normal(shift, 1, count)])
    return classes_like_normal(scores, ["good"] * 40 + ["x"] * count, among=["x"]) == ["x"]


def test_scores_of_the_same_distribution_are_alike_in_19_of_20_cases() -> None:
    alike = sum(found(0, seed=seed) for seed in range(400))
    assert 360 < alike < 399  # 380 are expected, with a standard deviation of 4.4


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_scores_on_either_side_are_not_alike(shift: float) -> None:
    assert not any(found(shift, seed=seed) for seed in range(50))


def test_few_images_tell_nothing() -> None:
    assert not found(0, count=LEAST - 1)
    assert not classes_like_normal(np.zeros(20), ["good"] * 7 + ["x"] * 13, among=["x"])


def test_only_the_classes_that_are_asked_for_are_compared() -> None:
    scores, defects = np.ones(30), ["good"] * 10 + ["a"] * 10 + ["b"] * 10
    assert classes_like_normal(scores, defects, among=["b", "a"]) == ["a", "b"]
    assert classes_like_normal(scores, defects, among=[]) == []

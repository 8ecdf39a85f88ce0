"""Verdicts of a rule on scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i3ad_jax import Detector
from i3ad_jax.calibration.thresholds import false_alarms
from i3ad_jax.calibration.verdict import Rule, VerdictOptions, VerdictSettings
from i3ad_jax.scoring.rates import Rate
from i3ad_jax.settings import SettingError


def test_a_score_of_exactly_the_threshold_is_normal() -> None:
    """The rate of false alarms counts the scores above it, too."""
    rule = Rule(
        "l2", 0.5, "given by --threshold", false_alarms(np.array([0.4, 0.5, 0.6]), 0.5), None
    )
    assert [rule.is_anomalous({"l2": score}) for score in (0.4, 0.5, 0.6)] == [False, False, True]
    assert rule.false_alarms.rate == 1 / 3


def test_a_rule_in_words() -> None:
    def words(count: int, total: int, goal: float = 0.01) -> str:
        rule = Rule("l2", 0.5, "given by --threshold", Rate.of(count, total), None, goal)
        return rule.describe()

    assert words(3, 42) == (
        "anomalous: l2 above 0.5 (given by --threshold). 3 of 42 calibration images exceed it"
        " (7.1 %); the true rate of false alarms is 1.5 to 19.5 % (95 % interval). To confirm 1 %"
        " or less, collect at least 326 more."
    )
    assert "1 of 42 calibration images exceeds it" in words(1, 42)
    assert words(0, 367).endswith("collect at least 1 more.")
    assert words(0, 368).endswith("(95 % interval).")
    assert "To confirm 0.1 % or less" in words(0, 368, 0.001)


def test_a_rate_of_false_alarms_is_a_quantile() -> None:
    stored = VerdictSettings("l2", 0.9, 3.0, "ignore")
    found = VerdictOptions(false_alarms=0.01).over(stored)
    assert found == VerdictOptions(quantile=0.99).over(stored)
    assert found == VerdictSettings("l2", 0.99, None, "ignore")
    assert VerdictOptions().over(stored) == stored
    with pytest.raises(SettingError, match=r"--false-alarms 0.01: give this or --quantile"):
        VerdictOptions(quantile=0.99, false_alarms=0.01)


@pytest.mark.parametrize(
    ("given", "stored", "expected"),
    [
        ({}, {"score": "l2", "threshold": 3.0}, {"score": "l2", "threshold": 3.0}),
        ({"score": "ssim"}, {"score": "l2", "threshold": 3.0}, {"score": "ssim"}),
        ({"quantile": 0.5}, {"score": "l2", "threshold": 3.0}, {"score": "l2", "quantile": 0.5}),
        (
            {"threshold": 1.0},
            {"score": "l2", "threshold": 3.0, "quantile": 0.9},
            {"score": "l2", "threshold": 1.0, "quantile": 0.9},
        ),
        ({"unusable": "mark"}, {"unusable": "ignore"}, {"unusable": "mark"}),
        ({"quantile": 0.5}, {"unusable": "ignore"}, {"quantile": 0.5, "unusable": "ignore"}),
    ],
)
def test_a_stored_threshold_stays_with_its_score(
    given: dict[str, Any], stored: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert VerdictSettings(**given).over(VerdictSettings(**stored)) == VerdictSettings(**expected)


def test_the_rule_of_a_calibration_is_a_quantile_of_its_scores(pca_run: Path) -> None:
    calibration = Detector.load(pca_run).calibration
    scores = calibration.held_out_scores["l2"]
    rule = Rule.of(calibration, VerdictSettings(score="l2", quantile=0.5))
    assert rule.threshold == np.quantile(scores, 0.5)
    assert rule.pixel_threshold == np.quantile(calibration.held_out_peaks["l2"], 0.5)
    assert Rule.of(calibration, VerdictSettings(threshold=7.0)).threshold == 7
    with pytest.raises(SettingError, match="no such score"):
        Rule.of(calibration, VerdictSettings(score="nothing"))

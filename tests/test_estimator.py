"""That `AnomalyDetector` behaves as estimators of scikit-learn and detectors of PyOD do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import tiny_settings
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.utils import estimator_checks as checks

from i3ad_jax import AnomalyDetector, InputError
from i3ad_jax.data.textures import make_textures

TEXTURES = make_textures("weave", size=(32, 32))
NORMAL = TEXTURES.train.images[:12]
SETTINGS = tiny_settings("pca")


@pytest.fixture(scope="module")
def fitted() -> AnomalyDetector:
    return AnomalyDetector("pca", settings=SETTINGS).fit(NORMAL)


# scikit-learn's own checks that need no table of numbers. The others, which check_estimator would run, fit on
# 2-D arrays of features; an image has two dimensions of pixels and one of colour.
@pytest.mark.parametrize(
    "check",
    [
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
        checks.check_no_attributes_set_in_init,
        checks.check_parameters_default_constructible,
        checks.check_get_params_invariance,
        checks.check_set_params,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_s_checks_hold(check: Callable[[str, Any], None]) -> None:
    check("AnomalyDetector", AnomalyDetector())


def test_a_clone_is_unfitted_and_fits_to_the_same_scores(fitted: AnomalyDetector) -> None:
    again: Any = clone(fitted)
    assert again.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        again.predict(NORMAL)
    images = TEXTURES.test.images[:6]
    np.testing.assert_array_equal(
        again.fit(NORMAL).decision_function(images), fitted.decision_function(images)
    )


def test_higher_scores_are_more_anomalous_and_anomalies_are_1(fitted: AnomalyDetector) -> None:
    normal, noise = NORMAL[:6], np.random.default_rng(0).integers(0, 256, NORMAL[:6].shape, np.uint8)
    images = np.concatenate([normal, noise])
    scores = fitted.decision_function(images)
    assert scores.shape == (12,)
    assert scores.dtype == np.float64
    assert roc_auc_score([0] * 6 + [1] * 6, scores) == 1
    verdicts = fitted.predict(images)
    assert verdicts[6:].tolist() == [1] * 6
    np.testing.assert_array_equal(verdicts, (scores > fitted.threshold_).astype(int))


def test_scores_are_those_of_the_detector(fitted: AnomalyDetector) -> None:
    found = fitted.detector_.score(NORMAL)
    np.testing.assert_array_equal(
        fitted.decision_function(NORMAL), [each.scores[fitted.score_] for each in found]
    )
    assert fitted.score_ == fitted.detector_.calibration.headline
    assert fitted.threshold_ == fitted.detector_.calibration.thresholds[fitted.score_]


def test_score_and_quantile_are_the_user_s() -> None:
    other = AnomalyDetector("pca", settings=SETTINGS, score="l2", quantile=0.5).fit(NORMAL)
    assert other.threshold_ == np.median(other.detector_.calibration.held_out_scores["l2"])


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"quantile": 1.5}, "--quantile"),
        ({"score": "l3"}, "--score"),
        ({"method": "pcb"}, "pcb"),
        ({"settings": {"sieze": 3}}, "--sieze"),
    ],
)
def test_parameters_that_make_no_sense_are_named(parameters: dict[str, object], named: str) -> None:
    estimator = AnomalyDetector("pca", settings=SETTINGS).set_params(**parameters)
    with pytest.raises(InputError, match=named):
        estimator.fit(NORMAL)

"""`AnomalyDetector` beside estimators of scikit-learn and detectors of PyOD."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.utils import estimator_checks as checks

from i3ad_jax import AnomalyDetector, InputError
from i3ad_jax.data.textures import make_textures
from tests.conftest import tiny_settings

TEXTURES = make_textures("weave", size=(32, 32))
NORMAL = TEXTURES.train.images[:12]
SETTINGS = tiny_settings("pca")


@pytest.fixture(scope="module")
def fitted() -> AnomalyDetector:
    return AnomalyDetector("pca", **SETTINGS).fit(NORMAL)


# scikit-learn's own checks that need no table of numbers. The others, which check_estimator would
# run, fit on 2-D arrays of features; an image has two dimensions of pixels and one of colour.
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
    normal, noise = (
        NORMAL[:6],
        np.random.default_rng(0).integers(0, 256, NORMAL[:6].shape, np.uint8),
    )
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


def test_score_and_contamination_are_the_user_s() -> None:
    other = AnomalyDetector("pca", selected_score="l2", contamination=0.5, **SETTINGS).fit(NORMAL)
    assert other.threshold_ == np.median(other.detector_.calibration.held_out_scores["l2"])


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"contamination": 1.5}, "contamination 1.5: must be more than 0 and less than 1"),
        ({"selected_score": "l3"}, "--score l3"),
        ({"method": "pcb"}, "pcb"),
        ({"sieze": 3}, "--sieze 3"),
    ],
)
def test_parameters_that_make_no_sense_are_named(parameters: dict[str, object], named: str) -> None:
    estimator = AnomalyDetector("pca", **SETTINGS).set_params(**parameters)
    with pytest.raises(InputError, match=named):
        estimator.fit(NORMAL)


def test_what_was_fitted_has_scores_and_labels(fitted: AnomalyDetector) -> None:
    np.testing.assert_allclose(fitted.decision_scores_, fitted.decision_function(NORMAL), rtol=1e-5)
    np.testing.assert_array_equal(fitted.labels_, fitted.decision_scores_ > fitted.threshold_)
    np.testing.assert_array_equal(
        AnomalyDetector("pca", **SETTINGS).fit_predict(NORMAL), fitted.labels_
    )


def test_probabilities_are_the_order_of_the_scores(fitted: AnomalyDetector) -> None:
    images = np.concatenate([NORMAL, TEXTURES.test.images[:20]])
    found, scores = fitted.predict_proba(images), fitted.decision_function(images)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert found.min() >= 0
    assert (np.diff(found[np.argsort(scores), 1]) >= 0).all()


def test_a_folder_is_fitted_as_its_images_are(tiny_folder: Path) -> None:
    of_folder = AnomalyDetector("pca", **SETTINGS).fit(tiny_folder)
    files = sorted((tiny_folder / "train/good").iterdir())
    of_files = AnomalyDetector("pca", **SETTINGS).fit(files)
    np.testing.assert_array_equal(of_folder.decision_scores_, of_files.decision_scores_)


LABELLED = np.concatenate([NORMAL, TEXTURES.test.images[TEXTURES.test.labels == 1][:12]])
LABELS = np.repeat([0, 1], 12)


def test_a_grid_search_needs_no_scoring_where_there_are_labels() -> None:
    estimator = AnomalyDetector("pca", **SETTINGS)
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    search = GridSearchCV(estimator, {"components": [1, 2], "contamination": [0.05]}, cv=folds)
    search.fit(LABELLED, LABELS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_["components"] in (1, 2)
    best = search.best_estimator_
    assert best.score(LABELLED, LABELS) == roc_auc_score(LABELS, best.decision_function(LABELLED))


def test_a_grid_search_without_labels_is_refused() -> None:
    never: Any = "raise"
    search = GridSearchCV(
        AnomalyDetector("pca", **SETTINGS), {"components": [1]}, cv=2, error_score=never
    )
    with pytest.raises(InputError, match="score: needs labels y"):
        search.fit(NORMAL)


def test_anomalous_images_are_left_out_of_training() -> None:
    settings = {**SETTINGS, "held_out": 0.25}
    labelled = AnomalyDetector("pca", **settings).fit(LABELLED, LABELS)
    normal = AnomalyDetector("pca", **settings).fit(NORMAL)
    assert labelled.threshold_ == normal.threshold_
    assert len(labelled.labels_) == len(LABELLED)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ("folder", [0], "labels y go with a sequence of images"),
        (NORMAL, [0], "fit: 1 labels y for 12 images"),
    ],
)
def test_labels_that_do_not_fit_are_refused(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AnomalyDetector("pca", **SETTINGS).fit(images, labels)


def test_labels_of_one_class_have_no_score(fitted: AnomalyDetector) -> None:
    with pytest.raises(InputError, match="all labels y are 0; give normal and anomalous images"):
        fitted.score(NORMAL, [0] * 12)

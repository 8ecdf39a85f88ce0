# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`AnomalyDetector`: a `Detector` with the interface of scikit-learn and PyOD."""

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator
from sklearn.utils import validation

from i3ad_jax.calibration.thresholds import DEFECT_QUANTILE
from i3ad_jax.config import DEFAULT_PRESET
from i3ad_jax.data.inputs import ImagesLike, readable_again
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.scoring.metrics import image_auroc

Labels = Sequence[int] | Int[np.ndarray, " n"]


class AnomalyDetector(BaseEstimator):
    """An anomaly detector for images, fitted on normal images alone.

    As in PyOD, higher scores are more anomalous and an anomaly is 1. (The outlier detectors of
    scikit-learn have it the other way round: lower, and -1.) X is images, not a table: whatever
    `Detector.score` takes.

    Args:
        method: one of `i3ad_jax.methods.METHODS`.
        preset: defaults of all other settings: standard, quick, gpu, paper or paper_small.
        contamination: fraction of normal images that the threshold calls anomalous, in (0, 1).
        selected_score: score that decides; None is the one that synthetic defects select.
        progress: show progress bars.
        settings: other options of `python -m i3ad_jax.train`, such as `seed` and `steps`, with
            underscores for dashes; `get_params` and `set_params` name them too, as `GridSearchCV`
            needs.

    Attributes:
        detector_: the fitted `Detector`, which also returns anomaly maps and saves itself.
        score_: name of the score that decides.
        threshold_: an image with a higher score is anomalous.
        decision_scores_: scores of the images in `fit`, float64 `n`. Training images score lower
            than new ones; the threshold comes from the calibration images among them.
        labels_: 1 for each of these images above the threshold, else 0.
    """

    detector_: Detector
    score_: str
    threshold_: float
    decision_scores_: Float[np.ndarray, " n"]
    labels_: Int[np.ndarray, " n"]

    def __init__(
        self,
        method: str = "i3ad",
        *,
        preset: str = DEFAULT_PRESET,
        contamination: float = 1 - DEFECT_QUANTILE,
        selected_score: str | None = None,
        progress: bool = False,
        **settings: Any,
    ) -> None:
        self.method = method
        self.preset = preset
        self.contamination = contamination
        self.selected_score = selected_score
        self.progress = progress
        for name, value in settings.items():
            setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, every given setting among them."""
        return {**super().get_params(deep), **self._settings}

    @classmethod
    def _parameter_names(cls) -> set[str]:
        """Return the parameters of `__init__` by name, without `settings`."""
        parameters = signature(cls).parameters.values()
        return {x.name for x in parameters if x.kind is not x.VAR_KEYWORD}

    @property
    def _settings(self) -> dict[str, Any]:
        """Return the given settings: attributes not of `__init__`, not fitted and not private."""
        own = self._parameter_names()
        return {
            name: x
            for name, x in vars(self).items()
            if name not in own and "_" not in (name[0], name[-1])
        }

    def set_params(self, **parameters: Any) -> "AnomalyDetector":
        """Change parameters or settings by name; `fit` refuses those the method does not have."""
        own = self._parameter_names()
        super().set_params(**{name: value for name, value in parameters.items() if name in own})
        for name in parameters.keys() - own:
            setattr(self, name, parameters[name])
        return self

    def fit(self, X: ImagesLike, y: Labels | None = None) -> "AnomalyDetector":  # noqa: N803 (as in sklearn)
        """Train and calibrate on normal images.

        Args:
            X: normal images, as `Detector.fit` takes them.
            y: labels, if there are any: images with label 1 are left out of training.

        Raises:
            InputError: a setting or an image cannot be used, or training diverged.
        """
        if not 0 < self.contamination < 1:
            raise InputError(
                f"contamination {self.contamination}: must be more than 0 and less than 1"
            )
        images = readable_again(X)
        detector = Detector.fit(
            images if y is None else _normal(images, y),
            method=self.method,
            preset=self.preset,
            progress=self.progress,
            **self._settings,
        ).with_rule(score=self.selected_score, false_alarm_rate=self.contamination)
        self.detector_, self.score_, self.threshold_ = (
            detector,
            detector.rule.score,
            detector.rule.threshold,
        )
        self.decision_scores_ = self._fitted_scores(images)
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(np.int64)
        return self

    def fit_predict(self, X: ImagesLike, y: Labels | None = None) -> Int[np.ndarray, " n"]:  # noqa: N803
        """Fit, and return `labels_`. Errors as for `fit`."""
        return self.fit(X, y).labels_

    def decision_function(self, X: ImagesLike) -> Float[np.ndarray, " n"]:  # noqa: N803
        """Return image scores, float64; higher is more anomalous.

        Raises:
            NotFittedError: before `fit`.
            InputError: an image cannot be used.
        """
        validation.check_is_fitted(self, "detector_")
        return np.array([found.score for found in self.detector_.stream(X)], np.float64)

    def predict(self, X: ImagesLike) -> Int[np.ndarray, " n"]:  # noqa: N803
        """Return 1 for each anomalous image, scored above `threshold_`, and 0 for a normal one.

        Raises:
            NotFittedError: before `fit`.
            InputError: an image cannot be used.
        """
        return (self.decision_function(X) > self.threshold_).astype(np.int64)

    def predict_proba(self, X: ImagesLike) -> Float[np.ndarray, "n 2"]:  # noqa: N803
        """Return 1 - p and p of each image, p its score scaled to the range of `decision_scores_`.

        p is the score between the least and the largest of `decision_scores_`. As PyOD's method
        "linear", clipped to [0, 1]: an order, not a calibrated probability.

        Raises:
            NotFittedError: before `fit`.
            InputError: an image cannot be used.
        """
        scores = self.decision_function(X)
        low, high = self.decision_scores_.min(), self.decision_scores_.max()
        anomalous = np.clip((scores - low) / max(high - low, np.finfo(np.float64).tiny), 0, 1)
        return np.stack([1 - anomalous, anomalous], axis=1)

    def score(self, X: ImagesLike, y: Labels | None = None) -> float:  # noqa: N803
        """Return the image AUROC of labelled images, in [0, 1].

        Args:
            X: images.
            y: 0 for each normal one, 1 for each anomalous one.

        Raises:
            NotFittedError: before `fit`.
            InputError: there are no labels or of one class only, or an image cannot be used.
        """
        if y is None:
            raise InputError(
                "score: needs labels y, 0 for a normal image and 1 for an anomalous one"
            )
        labels = np.asarray(y)
        auroc = image_auroc(labels, self.decision_function(X))
        if auroc is None:
            raise InputError(
                f"score: all labels y are {labels[0]}; give normal and anomalous images"
            )
        return auroc

    def _fitted_scores(self, images: ImagesLike) -> Float[np.ndarray, " n"]:
        """Scores of what was given to `fit`; of a data set those of its normal training images."""
        detector, data = self.detector_, self.detector_.config.data
        size = detector.preprocessing.size
        if isinstance(images, str | Path):
            split = data.load(size=size, progress=self.progress).train
        else:
            split = data.split_of(images, size=size)
        return detector.score_split(split, progress=self.progress)[1][self.score_]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        tags.non_deterministic = False
        return tags


def _normal(images: Any, labels: Labels) -> list[Any]:
    """Images whose label is 0.

    Raises:
        InputError: the images are not a sequence, or their number is not that of the labels.
    """
    if isinstance(images, str | Path | bytes):
        raise InputError("fit: labels y go with a sequence of images, not with a path or a file")
    if len(images) != len(labels):
        raise InputError(f"fit: {len(labels)} labels y for {len(images)} images; give one for each")
    return [image for image, label in zip(images, labels, strict=True) if label == 0]

"""`AnomalyDetector`: a `Detector` with the habits of scikit-learn and PyOD."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from i3ad_jax.calibration.thresholds import DEFECT_QUANTILE
from i3ad_jax.calibration.verdict import Rule, VerdictSettings
from i3ad_jax.config import DEFAULT_PRESET
from i3ad_jax.data.inputs import ImagesLike
from i3ad_jax.detector import Detector


class AnomalyDetector(BaseEstimator):
    """An anomaly detector for images, to fit on normal images alone.

    As in PyOD, higher scores are more anomalous, and an anomaly is 1. (scikit-learn's own outlier detectors
    have it the other way round: lower, and -1.) X is images, not a table: whatever `Detector.score` takes.

    Args:
        method: one of `i3ad_jax.methods.METHODS`.
        preset: defaults of all other settings: standard, quick or paper.
        seed: of weights, batches, masks, planted defects, and of which images are held out.
        score: which score decides; None is the headline, chosen by defects planted in held-out images.
        quantile: the threshold is this quantile of the scores of held-out normal images, in (0, 1).
        settings: other options of `python -m i3ad_jax.train`, with underscores for dashes.
        progress: show progress bars.

    Attributes:
        detector_: the fitted `Detector`, which also gives anomaly maps and saves itself.
        score_: the name of the score that decides.
        threshold_: above it an image is anomalous.
    """

    detector_: Detector
    score_: str
    threshold_: float

    def __init__(
        self,
        method: str = "i3ad",
        *,
        preset: str = DEFAULT_PRESET,
        seed: int = 0,
        score: str | None = None,
        quantile: float = DEFECT_QUANTILE,
        settings: Mapping[str, Any] | None = None,
        progress: bool = False,
    ) -> None:
        self.method = method
        self.preset = preset
        self.seed = seed
        self.score = score
        self.quantile = quantile
        self.settings = settings
        self.progress = progress

    def fit(self, X: ImagesLike, y: object = None) -> "AnomalyDetector":  # noqa: ARG002, N803 (as in sklearn)
        """Trains and calibrates on normal images.

        Args:
            X: normal images, as `Detector.fit` takes them.
            y: ignored.

        Raises:
            InputError: a setting or an image cannot be used, or training diverged.
        """
        verdict = VerdictSettings(score=self.score, quantile=self.quantile)
        detector = Detector.fit(
            X,
            method=self.method,
            preset=self.preset,
            progress=self.progress,
            **{"seed": self.seed, **(self.settings or {})},
        )
        rule = Rule.of(detector.calibration, verdict)
        self.detector_, self.score_, self.threshold_ = detector, rule.score, rule.threshold
        return self

    def decision_function(self, X: ImagesLike) -> Float[np.ndarray, " n"]:  # noqa: N803
        """Image scores, float64; the higher, the more anomalous.

        Raises:
            NotFittedError: before `fit`.
            InputError: an image cannot be used.
        """
        check_is_fitted(self)
        return np.array([found.scores[self.score_] for found in self.detector_.stream(X)], np.float64)

    def predict(self, X: ImagesLike) -> Int[np.ndarray, " n"]:  # noqa: N803
        """1 for an anomalous image, whose score is above `threshold_`; 0 for a normal one.

        Raises:
            NotFittedError: before `fit`.
            InputError: an image cannot be used.
        """
        check_is_fitted(self)
        return (self.decision_function(X) > self.threshold_).astype(np.int64)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        tags.non_deterministic = False
        return tags

"""scikit-learn on pixels: PCA as a reconstruction, and OneClassSVM."""

from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from sklearn.decomposition import PCA
from sklearn.svm import OneClassSVM

from benchmarks.peers.peer import Scores


@dataclass(frozen=True)
class ReconstructionByPca:
    """The squared error of projections, averaged over channels; an image's score is its mean."""

    model: PCA

    def score(self, images: np.ndarray) -> Scores:
        """See `Fitted.score`."""
        rows = _as_rows(images)
        reconstructed = self.model.inverse_transform(self.model.transform(rows)).reshape(
            images.shape
        )
        maps = ((images - reconstructed) ** 2).mean(axis=-1)
        return Scores(maps.mean(axis=(1, 2)), maps)

    def save(self, folder: Path) -> None:
        """Save as scikit-learn advises."""
        joblib.dump(self.model, folder / "model.joblib")


@dataclass(frozen=True)
class SupportVectors:
    """A one-class support vector machine: no maps."""

    model: OneClassSVM

    def score(self, images: np.ndarray) -> Scores:
        """Negate scikit-learn's scores, which are lower where an image is more anomalous."""
        return Scores(-self.model.decision_function(_as_rows(images)), None)

    def save(self, folder: Path) -> None:
        """Save as scikit-learn advises."""
        joblib.dump(self.model, folder / "model.joblib")


def fit_pca(images: np.ndarray, *, seed: int, seconds: float) -> ReconstructionByPca:  # noqa: ARG001
    """Fit PCA with its default, as many components as images; the rest is anomalous."""
    return ReconstructionByPca(PCA(random_state=seed).fit(_as_rows(images)))


def fit_one_class_svm(images: np.ndarray, *, seed: int, seconds: float) -> SupportVectors:  # noqa: ARG001
    """All defaults: an RBF kernel, gamma "scale", nu 0.5."""
    return SupportVectors(OneClassSVM().fit(_as_rows(images)))


def _as_rows(images: np.ndarray) -> np.ndarray:
    """Images `n h w 3` as a table `n p` of their pixels."""
    return images.reshape(len(images), -1)

"""PyOD on pixels: detectors for tables, which give no maps."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from benchmarks.peers.peer import Scores

AUTO_ENCODER_BATCH = 32  # PyOD's default


@dataclass(frozen=True)
class OutlierDetector:
    """Any of PyOD's."""

    model: Any

    def score(self, images: np.ndarray) -> Scores:
        """See `Fitted.score`."""
        return Scores(self.model.decision_function(_as_rows(images)), None)

    def save(self, folder: Path) -> None:
        """Save as PyOD advises."""
        joblib.dump(self.model, folder / "model.joblib")


def fit_ecod(images: np.ndarray, *, seed: int, seconds: float) -> OutlierDetector:  # noqa: ARG001
    """Tails of each pixel's distribution (Li et al. 2022)."""
    return _fitted(images, "ecod", "ECOD")


def fit_iforest(images: np.ndarray, *, seed: int, seconds: float) -> OutlierDetector:  # noqa: ARG001
    """An isolation forest."""
    return _fitted(images, "iforest", "IForest", random_state=seed)


def fit_knn(images: np.ndarray, *, seed: int, seconds: float) -> OutlierDetector:  # noqa: ARG001
    """The distance of the fifth nearest neighbour."""
    return _fitted(images, "knn", "KNN")


def fit_auto_encoder(images: np.ndarray, *, seed: int, seconds: float) -> OutlierDetector:  # noqa: ARG001
    """A network with layers of 64 and 32; its ten epochs take seconds."""
    # PyOD drops an incomplete batch: with fewer images than a batch it would not train at all.
    batch_size = min(AUTO_ENCODER_BATCH, len(images))
    return _fitted(
        images, "auto_encoder", "AutoEncoder", random_state=seed, batch_size=batch_size, verbose=0
    )


def _fitted(images: np.ndarray, module: str, name: str, **settings: Any) -> OutlierDetector:
    # By name: type checkers need not find PyOD. `Peer.load` has imported it.
    model = getattr(import_module(f"pyod.models.{module}"), name)(**settings)
    model.fit(_as_rows(images))
    return OutlierDetector(model)


def _as_rows(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)

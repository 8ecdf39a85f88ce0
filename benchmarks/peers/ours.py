"""Ours, by the Python interface: `i3ad` as it is by default, and its yardstick `pca`."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers.peer import Scores
from i3ad_jax import Detector
from i3ad_jax.config import default_config
from i3ad_jax.data.load import ARRAYS
from i3ad_jax.errors import InputError
from i3ad_jax.plan import resolve
from i3ad_jax.runtime.devices import use_every_core
from i3ad_jax.training.steps import steps_per_call, training_steps


@dataclass(frozen=True)
class Ours:
    """A detector with its headline, the score that its calibration trusts."""

    detector: Detector

    def score(self, images: np.ndarray) -> Scores:
        """See `Fitted.score`."""
        found = self.detector.score(_in_8_bits(images))
        maps = np.stack([prediction.anomaly_map() for prediction in found])
        return Scores(np.array([prediction.score for prediction in found]), maps)

    def save(self, folder: Path) -> None:
        """A run folder, with the optimisers' states."""
        self.detector.save(folder / "run")


def fit_i3ad(images: np.ndarray, *, seed: int, seconds: float) -> Ours:
    """Fit like `Detector.fit`, except that training ends when the time is over."""
    use_every_core()  # as all commands do
    pixels = _in_8_bits(images)
    config = default_config("i3ad").with_settings(
        {"data": ARRAYS, "image_size": images.shape[1], "seed": seed}
    )
    resolved = resolve(config, lambda size: config.data.split_of(pixels, size=size))
    plan = resolved.plan
    total = plan.config.training.steps
    end = time.perf_counter() + seconds
    steps = training_steps(plan, resolved.images.images, every=(steps_per_call(plan.method),))
    step = next(step for step in steps if step.number == total or time.perf_counter() > end)
    if problem := step.problem():
        raise InputError(f"training diverged at step {step.number} ({problem})")
    held_out = resolved.held_out.images[:]
    return Ours(Detector.calibrated(plan, step.state, held_out, step=step.number))


def fit_pca(images: np.ndarray, *, seed: int, seconds: float) -> Ours:  # noqa: ARG001
    """30 principal components."""
    use_every_core()
    return Ours(
        Detector.fit(_in_8_bits(images), method="pca", image_size=images.shape[1], seed=seed)
    )


def _in_8_bits(images: np.ndarray) -> np.ndarray:
    return np.round(255 * images).astype(np.uint8)

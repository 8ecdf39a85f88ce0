"""The segmentation loss against scikit-learn and SciPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import dice
from sklearn.metrics import log_loss

from i3ad_jax.segmentation.loss import segmentation_loss

RNG = np.random.default_rng(0)

LOGITS = RNG.normal(0, 2, (3, 8, 12)).astype(np.float32)

MASKS = (RNG.uniform(size=(3, 8, 12, 1)) < 0.2).astype(np.float32)

MASKS[2] = 0  # a normal image


def loss(logits: np.ndarray, masks: np.ndarray) -> float:
    return float(segmentation_loss(jnp.asarray(logits, jnp.float32), jnp.asarray(masks)))


def test_loss_is_the_sum_of_focal_and_dice_loss() -> None:
    truth = MASKS.ravel()
    probabilities = 1 / (1 + np.exp(-LOGITS.ravel().astype(np.float64)))
    # Focal loss is cross-entropy whose pixels weigh (1 - probability of the truth) ** 2.
    weights = np.abs(truth - probabilities) ** 2
    focal = log_loss(truth, probabilities, sample_weight=weights) * weights.mean()
    pairs = zip(probabilities.reshape(3, -1), truth.reshape(3, -1), strict=True)
    dices = [1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1) for p, t in pairs]
    assert loss(LOGITS, MASKS) == pytest.approx(4 * focal + 0.3 * np.mean(dices), rel=1e-5)


def test_loss_of_certain_answers_has_scipys_dice_dissimilarity() -> None:
    """Doubling certainty changes only the focal part, which is linear in wrong pixels' logits."""
    truth, found = np.random.default_rng(1).uniform(size=(2, 40, 40)) < 0.3
    masks = truth[None, ..., None].astype(np.float32)
    once, twice = (loss(certainty * (2.0 * found[None] - 1), masks) for certainty in (40, 80))
    expected = 0.3 * dice(truth.ravel(), found.ravel())
    assert 2 * once - twice == pytest.approx(expected, abs=1e-3)


def test_loss_is_least_for_perfect_logits() -> None:
    perfect = 40 * (2 * MASKS[..., 0] - 1)
    assert 0 <= loss(perfect, MASKS) < 1e-6
    flipped = perfect.copy()
    flipped[0, 3, 5] *= -1
    assert loss(perfect, MASKS) < loss(flipped, MASKS) < loss(-perfect, MASKS)
    gradient: Any = jax.grad(segmentation_loss)(jnp.asarray(LOGITS), jnp.asarray(MASKS))
    assert (np.sign(gradient) == 1 - 2 * MASKS[..., 0]).all()

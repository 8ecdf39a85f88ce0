"""Losses against NumPy and SciPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import distance_transform_edt

from i3ad_jax.inpainting.losses import (
    discount_weights,
    discounted_l1_loss,
    discriminator_hinge_loss,
    generator_hinge_loss,
)

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(0, 1.5, (2, 3, 4, 5, 8)).astype(np.float32)
IMAGES, RECONSTRUCTIONS = RNG.uniform(-1, 1, (2, 3, 12, 20, 3)).astype(np.float32)
WEIGHTS = RNG.uniform(size=(3, 12, 20, 1)).astype(np.float32)
MASKS = np.zeros((3, 12, 20, 1), np.float32)
MASKS[0, 2:11, 3:16] = 1  # one large hole
MASKS[1] = RNG.uniform(size=(12, 20, 1)) < 0.7  # many small ones; the third image has none


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=0)


def test_discriminator_hinge_loss() -> None:
    expected = np.maximum(0, 1 - REAL).mean() + np.maximum(0, 1 + FAKE).mean()
    assert_close(discriminator_hinge_loss(jnp.asarray(REAL), jnp.asarray(FAKE)), expected)


def test_gradient_of_hinge_loss_is_zero_beyond_the_margins() -> None:
    real_gradient, fake_gradient = jax.grad(discriminator_hinge_loss, argnums=(0, 1))(
        jnp.asarray(REAL), jnp.asarray(FAKE)
    )
    np.testing.assert_allclose(real_gradient, np.where(REAL < 1, -1 / REAL.size, 0), rtol=1e-6)
    np.testing.assert_allclose(fake_gradient, np.where(FAKE > -1, 1 / FAKE.size, 0), rtol=1e-6)


def test_generator_hinge_loss() -> None:
    assert_close(generator_hinge_loss(jnp.asarray(FAKE)), -FAKE.mean(dtype=np.float64))


def test_weights_are_powers_of_the_distance_to_known_pixels() -> None:
    weights = discount_weights(jnp.asarray(MASKS), discount=0.99)
    expected = [0.99 ** distance_transform_edt(mask[..., 0])[..., None] for mask in MASKS]  # pyright: ignore
    np.testing.assert_allclose(weights, expected, rtol=1e-5)
    assert weights.min() < 0.99**4


def test_known_pixels_have_weight_one() -> None:
    weights = np.asarray(discount_weights(jnp.asarray(MASKS), discount=0.5))
    assert (weights[MASKS == 0] == 1).all()
    assert (weights[MASKS == 1] <= 0.5).all()


def test_discounted_l1_loss() -> None:
    expected = np.mean(WEIGHTS.astype(np.float64) * np.abs(IMAGES - RECONSTRUCTIONS))
    assert_close(
        discounted_l1_loss(*map(jnp.asarray, (IMAGES, RECONSTRUCTIONS, WEIGHTS))), expected
    )


def test_gradient_of_discounted_l1_loss_is_the_weighted_sign() -> None:
    arrays = map(jnp.asarray, (IMAGES, RECONSTRUCTIONS, WEIGHTS))
    gradient = jax.grad(discounted_l1_loss, argnums=1)(*arrays)
    assert_close(gradient, WEIGHTS * np.sign(RECONSTRUCTIONS - IMAGES) / IMAGES.size)

"""The context encoder: what a short vector lets through, reduced precision, and I3AD with it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.networks import build
from i3ad_jax.config import default_config
from i3ad_jax.methods.method import Batch
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.nn.context_encoder import ContextEncoder

SIDE, LATENT_SIZE = 16, 3
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.uniform(-1, 1, (2, SIDE, SIDE, 3)), jnp.float32)
MASKS = jnp.asarray(RNG.uniform(size=(2, SIDE, SIDE, 1)) < 0.3, jnp.float32)
SMALL = {
    "generator": "context",
    "image_size": 32,
    "view": "whole",
    "context_width": 4,
    "latent_size": 8,
    "discriminator_width": 2,
    "discriminator_depth": 2,
    "batch_size": 4,
    "segmenter_width": 0,
}


@pytest.fixture(scope="module")
def weights() -> Any:
    return jax.jit(ContextEncoder(8, LATENT_SIZE).init)(jax.random.key(0), IMAGES, MASKS)


def inpaint(weights: Any, images: Any, masks: Any) -> Any:
    stages: Any = ContextEncoder(8, LATENT_SIZE).apply(weights, images, masks)
    (inpainted,) = stages
    return inpainted


def test_all_of_an_image_passes_the_vector(weights: Any) -> None:
    """Whatever pixels change, the output moves in as many directions as the vector has numbers."""
    jacobian = jax.jit(
        jax.jacobian(lambda image: inpaint(weights, image[None], MASKS[:1]).ravel())
    )(IMAGES[0])
    singular = np.linalg.svd(jacobian.reshape(3 * SIDE**2, -1), compute_uv=False)
    assert singular[LATENT_SIZE - 1] > 1e-3 * singular[0]
    assert singular[LATENT_SIZE] < 1e-5 * singular[0]


def test_outputs_are_images_of_their_own(weights: Any) -> None:
    both = inpaint(weights, IMAGES, MASKS)
    assert (both.shape, both.dtype) == (IMAGES.shape, jnp.float32)
    assert np.abs(both).max() <= 1
    alone = inpaint(weights, IMAGES[1:], MASKS[1:])
    np.testing.assert_allclose(both[1:], alone, atol=1e-6)
    other_holes = inpaint(weights, IMAGES, 1 - MASKS)
    assert np.abs(other_holes - both).max() > 1e-3


def test_reduced_precision_is_close_but_not_the_same(weights: Any) -> None:
    reduced = ContextEncoder(8, LATENT_SIZE, jnp.bfloat16)
    stages: Any = jax.jit(reduced.apply)(weights, IMAGES, MASKS)
    (found,) = stages
    exact = inpaint(weights, IMAGES, MASKS)
    assert found.dtype == jnp.float32
    assert 0 < np.abs(found - exact).max() < 0.05


@pytest.mark.slow
def test_i3ad_learns_to_tell_images_apart() -> None:
    """Four images that vary in one way: after training a hole's content is known from the rest."""
    method = build(default_config("i3ad", preset="quick").with_settings(SMALL))
    ramp = np.linspace(-1, 1, 32)
    pattern = np.stack(
        [ramp[:, None] * ramp, ramp[:, None] + 0 * ramp, 0 * ramp[:, None] + ramp], axis=-1
    )
    strengths = np.array([-0.9, -0.3, 0.3, 0.9])
    images = jnp.asarray(strengths[:, None, None, None] * pattern, jnp.float32)
    state, step, metrics = fresh_state(jax.random.key(0), method), jax.jit(method.step), {}
    for number in range(150):
        state, metrics = step(
            state, Batch(images, None), jax.random.fold_in(jax.random.key(1), number)
        )
    reconstructions = method.reconstruct_once(state, images)
    assert reconstructions is not None
    assert all(np.isfinite(value) for value in metrics.values())
    mean_image_error = np.abs(images - images.mean(axis=0)).mean()
    assert np.abs(reconstructions - images).mean() < 0.4 * mean_image_error

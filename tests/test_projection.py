"""Iterative projection: its energy, the gradient, the descent."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_weights

from i3ad_jax.methods.autoencoder import AutoencoderSettings, AutoencoderState
from i3ad_jax.methods.projection import L2Projection, ProjectionMethod, ProjectionSettings, SsimProjection
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.devices import ThroughputSettings
from i3ad_jax.scoring.maps import Pair, plain_maps
from i3ad_jax.scoring.ssim import SsimSettings

ARGUMENTS = (
    AutoencoderSettings(width=4, latent_size=8),
    ProjectionSettings(),
    32,
    SsimSettings(),
    ThroughputSettings(test_batch_size=3),
)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-0.9, 0.9, (6, 32, 32, 3)), jnp.float32)
METHODS = {"l2": L2Projection(*ARGUMENTS), "ssim": SsimProjection(*ARGUMENTS)}


@pytest.fixture(scope="module")
def state() -> AutoencoderState:
    shapes = jax.eval_shape(METHODS["l2"].init, jax.random.key(0))
    return AutoencoderState(random_weights(shapes.weights), ())


@pytest.fixture(params=["l2", pytest.param("ssim", marks=pytest.mark.slow)])
def method(request: pytest.FixtureRequest) -> ProjectionMethod:
    return METHODS[request.param]


def test_energy_of_the_input_is_the_loss_alone_and_distance_costs_lambda(state: AutoencoderState) -> None:
    method, image = METHODS["l2"], IMAGES[0]
    energy = jax.jit(method.energy)
    reconstruction = np.asarray(jax.jit(method.autoencode)(state, image))
    expected = float(((image - reconstruction) ** 2).sum() / 4)
    assert energy(state, image, image) == pytest.approx(expected, rel=1e-5)
    away = image + 0.1
    further = energy(state, image, away) - energy(state, away, away)
    assert further == pytest.approx(0.05 * 32 * 32 * 3 * 0.05, rel=1e-3)


def test_gradient_equals_finite_differences(method: ProjectionMethod, state: AutoencoderState) -> None:
    with jax.enable_x64(True):
        weights = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), state)
        image, moved = (jnp.asarray(x, jnp.float64) for x in IMAGES[:2])
        energy = jax.jit(lambda x: method.energy(weights, image, x))
        gradient = jax.grad(energy)(moved)
        # Along the gradient the difference is the largest: SSIM is float32 inside, whatever comes in. A
        # random part keeps the direction from being right for a gradient that is wrong.
        for seed in range(3):
            noise = jax.random.normal(jax.random.key(seed), moved.shape, jnp.float64)
            direction = gradient / jnp.linalg.norm(gradient) + noise / jnp.linalg.norm(noise)
            step = 1e-2
            difference = (energy(moved + step * direction) - energy(moved - step * direction)) / (2 * step)
            assert jnp.vdot(gradient, direction) == pytest.approx(float(difference), rel=1e-2)


def test_step_moves_each_pixel_by_its_squared_error(
    method: ProjectionMethod, state: AutoencoderState
) -> None:
    image, moved = IMAGES[:2]
    # In intensities y = (x + 1) / 2, as Dehaene et al. write it: y - alpha * dE/dy * (y - f(y))**2.
    energy = jax.jit(lambda y: method.energy(state, image, 2 * y - 1))
    gradient = jax.grad(energy)((moved + 1) / 2)
    error = (moved - jax.jit(method.autoencode)(state, moved)) / 2
    expected = jnp.clip(2 * ((moved + 1) / 2 - 0.5 * gradient * error**2) - 1, -1, 1)
    np.testing.assert_allclose(jax.jit(method.improve)(state, image, moved), expected, atol=1e-5)


def test_energy_falls_on_average(method: ProjectionMethod, state: AutoencoderState) -> None:
    def descend(image: Any) -> Any:
        def one(moved: Any, _: None) -> tuple[Any, Any]:
            return method.improve(state, image, moved), method.energy(state, image, moved)

        return jax.lax.scan(one, image, length=20)[1]

    energies = np.asarray(jax.jit(jax.vmap(descend))(IMAGES)).mean(axis=0)
    assert (np.diff(energies) < 0).all()


def test_a_batch_equals_single_images(method: ProjectionMethod, state: AutoencoderState) -> None:
    maps = method.predict(state, {}, Squares.of_pixels(IMAGES), len(IMAGES)).maps
    one = jax.jit(lambda image: plain_maps(Pair(image, method.reconstruct_one(state, image)), method.ssim))
    for index, image in enumerate(IMAGES):
        for kind, single in one(image).items():
            np.testing.assert_allclose(maps[kind][index], single, atol=1e-4)

"""Iterative projection: its energy, the gradient, the descent."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.methods.autoencoder import AutoencoderSettings, AutoencoderState
from i3ad_jax.methods.projection import (
    L2Projection,
    ProjectionMethod,
    ProjectionSettings,
    SsimProjection,
)
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.maps import Pair, plain_maps
from i3ad_jax.scoring.ssim import SsimSettings
from tests.support.random_weights import random_weights

SIDE = 16
ARGUMENTS = (
    AutoencoderSettings(width=4, latent_size=8),
    ProjectionSettings(),
    SIDE,
    SsimSettings(),
    Throughput(test_batch_size=3),
)
IMAGES = np.random.default_rng(0).uniform(-0.9, 0.9, (6, SIDE, SIDE, 3)).astype(np.float32)
METHODS = {"l2": L2Projection(*ARGUMENTS), "ssim": SsimProjection(*ARGUMENTS)}


@pytest.fixture(scope="module")
def state() -> AutoencoderState:
    shapes = jax.eval_shape(METHODS["l2"].init, jax.random.key(0))
    return AutoencoderState(random_weights(shapes.weights), ())


@pytest.fixture(params=["l2", pytest.param("ssim", marks=pytest.mark.slow)])
def method(request: pytest.FixtureRequest) -> ProjectionMethod:
    return METHODS[request.param]


def test_energy_of_the_input_is_the_loss_alone_and_distance_costs_lambda(
    state: AutoencoderState,
) -> None:
    method, image = METHODS["l2"], IMAGES[0]
    energy = jax.jit(method.energy)
    reconstruction = np.asarray(jax.jit(method.autoencode)(state, image))
    expected = float(((image - reconstruction) ** 2).sum() / 4)
    assert energy(state, image, image) == pytest.approx(expected, rel=1e-5)
    away = image + np.float32(0.1)
    further = energy(state, image, away) - energy(state, away, away)
    assert further == pytest.approx(0.05 * SIDE * SIDE * 3 * 0.05, rel=1e-3)


def test_gradient_equals_finite_differences(
    method: ProjectionMethod, state: AutoencoderState
) -> None:
    with jax.enable_x64(True):
        weights = jax.tree.map(lambda x: x.astype(np.float64), state)
        image, moved = jnp.asarray(IMAGES[0], jnp.float64), IMAGES[1].astype(np.float64)
        energy = jax.jit(jax.value_and_grad(lambda x: method.energy(weights, image, x)))
        gradient = np.asarray(energy(moved)[1])
        # Along the gradient the difference is the largest: SSIM is float32 inside, whatever comes
        # in. A random part keeps the direction from being right for a gradient that is wrong.
        for seed in range(3):
            noise = np.random.default_rng(seed).normal(size=moved.shape)
            direction = gradient / np.linalg.norm(gradient) + noise / np.linalg.norm(noise)
            step = 1e-2
            above, below = (float(energy(moved + sign * step * direction)[0]) for sign in (1, -1))
            assert np.vdot(gradient, direction) == pytest.approx(
                (above - below) / (2 * step), rel=1e-2
            )


def test_step_moves_each_pixel_by_its_squared_error(
    method: ProjectionMethod, state: AutoencoderState
) -> None:
    image, moved = jnp.asarray(IMAGES[0]), IMAGES[1]

    @jax.jit
    def parts(y: Any) -> Any:
        """Gradient by intensities y = (x + 1) / 2, squared error in them, and the step's result."""
        gradient = jax.grad(lambda y: method.energy(state, image, 2 * y - 1))(y)
        return (
            gradient,
            method.autoencode(state, 2 * y - 1),
            method.improve(state, image, 2 * y - 1),
        )

    # As Dehaene et al. write it: y - alpha * dE/dy * (y - f(y))**2.
    y = (moved + 1) / 2
    gradient, reconstruction, found = map(np.asarray, parts(y))
    error = y - (reconstruction + 1) / 2
    expected = np.clip(2 * (y - 0.5 * gradient * error**2) - 1, -1, 1)
    assert np.abs(expected - moved).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)  # float32 in [-1, 1]


def test_energy_falls_on_average(method: ProjectionMethod, state: AutoencoderState) -> None:
    def descend(image: Any) -> Any:
        def one(moved: Any, _: None) -> tuple[Any, Any]:
            return method.improve(state, image, moved), method.energy(state, image, moved)

        return jax.lax.scan(one, image, length=20)[1]

    energies = np.asarray(jax.jit(jax.vmap(descend))(IMAGES)).mean(axis=0)
    assert (np.diff(energies) < 0).all()


@pytest.mark.parametrize("name", ["l2", pytest.param("ssim", marks=pytest.mark.slow)])
def test_a_batch_equals_single_images(name: str, state: AutoencoderState) -> None:
    method = METHODS[name]
    maps = method.predict(state, {}, Squares.of_pixels(jnp.asarray(IMAGES)), len(IMAGES)).maps
    one = jax.jit(
        lambda image: plain_maps(Pair(image, method.reconstruct_one(state, image)), method.ssim)
    )
    for index, image in enumerate(IMAGES):
        for kind, single in one(image).items():
            # rounding over all steps: of 2e-6 with SSE4.2, of 5e-7 with AVX2 and AVX-512
            np.testing.assert_allclose(maps[kind][index], single, rtol=0, atol=1e-5)

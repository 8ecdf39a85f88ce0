"""Iterative projection: its energy, the gradient, the descent."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_weights

from i3ad_jax.config import Config, DataConfig, NetworkConfig
from i3ad_jax.methods.autoencoder import AutoencoderState
from i3ad_jax.methods.projection import ProjectionModel, l2_ae_projection, ssim_ae_projection
from i3ad_jax.methods.reconstruction import Reconstruction

CONFIG = Config(data=DataConfig(image_size=32), network=NetworkConfig(width=4, latent_size=8))
IMAGES = np.random.default_rng(0).uniform(-0.9, 0.9, (6, 32, 32, 3)).astype(np.float32)
MODELS = {"l2": l2_ae_projection(CONFIG), "ssim": ssim_ae_projection(CONFIG)}


@pytest.fixture(scope="module")
def state() -> AutoencoderState:
    shapes = jax.eval_shape(MODELS["l2"].init, jax.random.key(0))
    return AutoencoderState(random_weights(shapes.weights), ())


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> ProjectionModel:
    return MODELS[request.param]


def test_energy_of_the_input_is_the_loss_alone_and_distance_costs_lambda(state: AutoencoderState) -> None:
    model, image = MODELS["l2"], IMAGES[0]
    repeated = np.asarray(model.autoencoder.repeat(state, jnp.asarray(image)))
    assert model.energy(state, image, image) == pytest.approx(((image - repeated) ** 2).sum() / 4, rel=1e-5)
    away = image + 0.1
    further = model.energy(state, image, away) - model.energy(state, away, away)
    assert further == pytest.approx(0.05 * 32 * 32 * 3 * 0.05, rel=1e-3)


def test_gradient_equals_finite_differences(model: ProjectionModel, state: AutoencoderState) -> None:
    with jax.enable_x64(True):
        weights = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), state)
        image, moved = (jnp.asarray(x, jnp.float64) for x in IMAGES[:2])
        energy = jax.jit(lambda x: model.energy(weights, image, x))
        gradient = jax.grad(energy)(moved)
        # Along the gradient the difference is the largest: SSIM is float32 inside, whatever comes in. A
        # random part keeps the direction from being right for a gradient that is wrong.
        for seed in range(3):
            noise = jax.random.normal(jax.random.key(seed), moved.shape, jnp.float64)
            direction = gradient / jnp.linalg.norm(gradient) + noise / jnp.linalg.norm(noise)
            step = 1e-2
            difference = (energy(moved + step * direction) - energy(moved - step * direction)) / (2 * step)
            assert jnp.vdot(gradient, direction) == pytest.approx(float(difference), rel=1e-2)


def test_step_moves_each_pixel_by_its_squared_error(model: ProjectionModel, state: AutoencoderState) -> None:
    image, moved = jnp.asarray(IMAGES[0]), jnp.asarray(IMAGES[1])
    # In intensities y = (x + 1) / 2, as Dehaene et al. write it: y - alpha * dE/dy * (y - f(y))**2.
    gradient = jax.grad(lambda y: model.energy(state, image, 2 * y - 1))((moved + 1) / 2)
    error = (moved - model.autoencoder.repeat(state, moved)) / 2
    expected = jnp.clip(2 * ((moved + 1) / 2 - 0.5 * gradient * error**2) - 1, -1, 1)
    np.testing.assert_allclose(model.improve(state, image, moved), expected, atol=1e-5)


def test_energy_falls_on_average(model: ProjectionModel, state: AutoencoderState) -> None:
    def descend(image: Any) -> Any:
        def one(moved: Any, _: None) -> tuple[Any, Any]:
            return model.improve(state, image, moved), model.energy(state, image, moved)

        return jax.lax.scan(one, image, length=20)[1]

    energies = np.asarray(jax.jit(jax.vmap(descend))(IMAGES)).mean(axis=0)
    assert (np.diff(energies) < 0).all()


def test_a_batch_equals_single_images(model: ProjectionModel, state: AutoencoderState) -> None:
    method = Reconstruction(replace(CONFIG, refine=replace(CONFIG.refine, test_batch_size=3)), model)
    maps = method.anomaly_maps(state, {}, jnp.asarray(IMAGES), len(IMAGES))
    one = jax.jit(lambda image: method.maps(state, image))
    for index, image in enumerate(IMAGES):
        for kind, single in one(image).items():
            np.testing.assert_allclose(maps[kind][index], single, atol=1e-4)

"""Behaviour of `Method` that every method shares: one pass of its networks."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.config import default_config
from i3ad_jax.methods import METHODS
from i3ad_jax.methods.method import Method
from i3ad_jax.preprocessing.preprocessing import Squares
from tests.conftest import tiny_settings
from tests.support.random_weights import LARGEST_GAIN, random_weights

SEARCHING = ("anogan", "l2_ae_projection", "ssim_ae_projection")

RNG = np.random.default_rng(0)


def small(name: str) -> Method:
    """Build a method with the smaller generator where it has a choice, and without a segmenter."""
    smaller = {"generator": "context", "context_width": 2, "segmenter_width": 0}
    own = default_config(name).flat()
    settings = tiny_settings(name) | {key: value for key, value in smaller.items() if key in own}
    return default_config(name).with_settings(settings | {"view": "whole"}).build()


@pytest.mark.parametrize("name", METHODS)
def test_one_pass_gives_an_image_for_each_image(name: str) -> None:
    method = small(name)
    state = jax.eval_shape(method.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((5, 32, 32, 3), jnp.float32)
    once = inspect.unwrap(type(method).reconstruct_once)  # without the compilation
    found = jax.eval_shape(partial(once, method), state, images)
    assert (found is None) == (name in SEARCHING)
    assert found is None or (found.shape, found.dtype) == (images.shape, images.dtype)
    assert method.fill_patches == (4 if name == "i3ad" else None)


@pytest.mark.parametrize("name", [pytest.param("i3ad", marks=pytest.mark.slow), "pca"])
def test_one_pass_is_the_first_state_of_a_trace(name: str) -> None:
    method = small(name)
    state = random_weights(jax.eval_shape(method.init, jax.random.key(0)), gain=LARGEST_GAIN)
    images = jnp.asarray(RNG.uniform(-1, 1, (6, 32, 32, 3)), jnp.float32)
    states = method.trace(state, {"u": 0.3}, Squares.of_pixels(images), len(images)).images
    states, once = jax.device_get((states, method.reconstruct_once(state, images)))
    np.testing.assert_allclose(once, states[:, 0], rtol=0, atol=2e-6)  # ten roundings of float32
    assert np.std(once, axis=0).max() > 1e-3
    if name == "i3ad":
        assert np.abs(states[:, -1] - once).max() > 1e-3  # the loop goes on from there

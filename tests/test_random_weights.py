"""The networks of tests do not amplify rounding, so small tolerances suffice."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks.networks import build
from i3ad_jax.config import default_config
from i3ad_jax.nn.inpainter import Inpainter
from tests.conftest import tiny_settings
from tests.support.random_weights import LARGEST_GAIN, amplification, random_weights

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)


def test_the_generator_at_the_largest_gain() -> None:
    inpainter, masks = Inpainter(width=2, dilations=(2,)), np.zeros((2, 32, 32, 1), np.float32)
    masks[:, 8:24, 8:24] = 1
    shapes = jax.eval_shape(inpainter.init, jax.random.key(0), IMAGES, masks)
    apply: Any = jax.jit(inpainter.apply)
    weights = random_weights(shapes, gain=LARGEST_GAIN)
    larger = jax.tree.map(lambda x: 1.25 * x, weights)
    assert 1e-3 < amplification(lambda images: apply(weights, images, masks), IMAGES) < 10
    assert amplification(lambda images: apply(larger, images, masks), IMAGES) > 10


@pytest.mark.parametrize("name", ["l2_ae", "unet"])
def test_the_autoencoders(name: str) -> None:
    method: Any = build(default_config(name).with_settings(tiny_settings(name)))
    state = random_weights(jax.eval_shape(method.init, jax.random.key(0)))
    autoencode = jax.jit(jax.vmap(partial(method.autoencode, state)))
    assert 0 < amplification(autoencode, IMAGES) < 10

"""The U-Net: its skip connections and its latent vector are the only ways through it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.nn.unet import UNet
from tests.support.random_weights import random_weights

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 48, 3)).astype(np.float32)


def weights(net: UNet) -> Any:
    return random_weights(jax.eval_shape(net.init, jax.random.key(0), jnp.asarray(IMAGES)))


@pytest.mark.parametrize("skips", [(), (1,), (2, 4)])
def test_skips_are_the_ways_past_the_latent_vector(skips: tuple[int, ...]) -> None:
    net = UNet(width=4, latent_size=3, skips=skips)
    params = weights(net)
    latent = params["params"]["latent"]
    params["params"]["latent"] = jax.tree.map(np.zeros_like, latent)  # nothing passes it
    first, other = jax.device_get(net.apply(params, jnp.asarray(IMAGES)))
    assert first.shape == IMAGES.shape[1:]
    assert np.abs(first).max() <= 1
    assert np.array_equal(first, other) == (not skips)

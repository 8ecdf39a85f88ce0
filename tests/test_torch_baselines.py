"""The baselines' networks and optimisers against the same in PyTorch: benchmarks compare like with like."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_weights

from i3ad_jax.config import Config, DataConfig, NetworkConfig, SearchConfig
from i3ad_jax.methods import build
from i3ad_jax.methods.anogan import first_latent
from i3ad_jax.methods.reconstruction import Reconstruction

torch = pytest.importorskip("torch")
from benchmarks import torch_baselines  # noqa: E402  (it needs torch)

IMAGES = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 32, 32, 3)).astype(np.float32)
TENSORS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)


def small(method: str) -> Any:
    config = Config(
        method=method,
        data=DataConfig(image_size=32),
        network=NetworkConfig(width=4, latent_size=6),
        search=SearchConfig(projection_steps=5, latent_steps=5),
    )
    return build(config)


def test_autoencoder_and_projection() -> None:
    method: Reconstruction = small("l2_ae_projection")
    state = random_weights(jax.eval_shape(method.init, jax.random.key(0)))
    autoencoder = torch_baselines.load_autoencoder(state.weights, method.config)
    ours = jax.vmap(lambda x: method.model.autoencoder.repeat(state, x))(IMAGES)  # pyright: ignore
    assert jnp.std(ours) > 0.05
    with torch.no_grad():
        theirs = autoencoder(TENSORS).permute(0, 2, 3, 1)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)

    maps = jax.jit(jax.vmap(lambda x: method.maps(state, x)["ssim"]))(IMAGES)
    projected = torch_baselines.project(autoencoder, TENSORS, method.config.search)
    np.testing.assert_allclose(projected, maps, atol=1e-3)


def test_anogan() -> None:
    method: Reconstruction = small("anogan")
    # Positive everywhere: batch norms divide by the root of a variance.
    state = jax.tree.map(
        lambda x: abs(x) + 0.1, random_weights(jax.eval_shape(method.init, jax.random.key(0)))
    )
    state = jax.tree.map(lambda x, y: x if x.ndim == 1 else y, state, jax.jit(method.init)(jax.random.key(1)))
    modules = torch_baselines.load_anogan(state, method.config)
    latent = first_latent(6)
    start = torch.from_numpy(np.array(latent))
    with torch.no_grad():
        made = modules[0](start[None]).permute(0, 2, 3, 1)
    np.testing.assert_allclose(made[0], method.model.generate(state, latent), atol=1e-5)  # pyright: ignore

    maps = jax.jit(jax.vmap(lambda x: method.maps(state, x)["ssim"]))(IMAGES)
    found = torch_baselines.search_latent(*modules, TENSORS, start=start, search=method.config.search)
    np.testing.assert_allclose(found, maps, atol=1e-3)

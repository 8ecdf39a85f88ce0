"""The baselines' networks and optimisers equal PyTorch's: benchmarks compare like with like."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.networks import build
from i3ad_jax.config import default_config
from i3ad_jax.methods.anogan import Anogan, first_latent
from i3ad_jax.methods.method import State
from i3ad_jax.methods.projection import L2Projection
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.scoring.ssim import ssim_anomaly
from i3ad_jax.shapes import Image, Map, Maps
from tests.support.random_weights import random_weights

torch = pytest.importorskip("torch", reason="pip install -e '.[test-all]'")
from benchmarks import torch_baselines  # noqa: E402  (it needs torch)

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 32, 32, 3)).astype(np.float32)
TENSORS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)


def small(name: str, **steps: int) -> ReconstructionMethod:
    config = default_config(name, preset="paper")
    method = build(config.with_settings({"image_size": 32, "width": 4, "latent_size": 6, **steps}))
    assert isinstance(method, ReconstructionMethod)
    return method


def ssim_maps(method: ReconstructionMethod, state: State) -> Maps:
    def one(image: Image) -> Map:
        return ssim_anomaly(image, method.ssim)(method.reconstruct_one(state, image))

    return jax.jit(jax.vmap(one))(IMAGES)


def test_autoencoder_and_projection() -> None:
    method = small("l2_ae_projection", projection_steps=5)
    assert isinstance(method, L2Projection)
    state = random_weights(jax.eval_shape(method.init, jax.random.key(0)))
    autoencoder = torch_baselines.load_autoencoder(state, method)
    ours = jax.vmap(lambda x: method.autoencode(state, x))(IMAGES)
    assert jnp.std(ours) > 0.05
    with torch.no_grad():
        theirs = autoencoder(TENSORS).permute(0, 2, 3, 1)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)

    projected = torch_baselines.project(autoencoder, TENSORS, method.test)
    np.testing.assert_allclose(projected, ssim_maps(method, state), atol=1e-3)


def test_anogan() -> None:
    method = small("anogan", latent_steps=5)
    assert isinstance(method, Anogan)
    # Positive everywhere: batch norms divide by the root of a variance.
    state = jax.tree.map(
        lambda x: abs(x) + 0.1, random_weights(jax.eval_shape(method.init, jax.random.key(0)))
    )
    state = jax.tree.map(
        lambda x, y: x if x.ndim == 1 else y, state, fresh_state(jax.random.key(1), method)
    )
    modules = torch_baselines.load_anogan(state, method)
    latent = first_latent(6)
    start = torch.from_numpy(np.array(latent))
    with torch.no_grad():
        generated = modules[0](start[None]).permute(0, 2, 3, 1)
    np.testing.assert_allclose(generated[0], method.generate(state, latent), atol=1e-5)

    found = torch_baselines.search_latent(*modules, TENSORS, start=start, settings=method.test)
    np.testing.assert_allclose(found, ssim_maps(method, state), atol=1e-3)

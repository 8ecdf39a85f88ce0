"""The autoencoders and the U-Net: shapes, the latent bottleneck, and what they can learn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from i3ad_jax.errors import InputError
from i3ad_jax.methods.autoencoder import (
    AutoencoderMethod,
    AutoencoderState,
    L2Autoencoder,
    SsimAutoencoder,
    UNetMethod,
)
from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.nn.autoencoder import Autoencoder, widths
from i3ad_jax.nn.unet import UNet
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.ssim import SsimSettings
from i3ad_jax.shapes import Image
from tests.support.batches import without_defects
from tests.support.random_weights import random_weights


def build(kind: type[AutoencoderMethod], *, size: int = 32, **settings: Any) -> AutoencoderMethod:
    own: Any = type(kind.presets["quick"][0])
    training = own(**{"width": 8, "latent_size": 16, "learning_rate": 3e-3, **settings})
    return kind(training, NoSettings(), size, SsimSettings(), Throughput())


def stripes(count: int, *, size: int = 32) -> np.ndarray:
    """Images that differ by the angle and the colour of their stripes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    angles = rng.uniform(0, np.pi, (count, 1, 1))
    waves = np.sin(2 * np.pi * 3 * (x * np.cos(angles) + y * np.sin(angles)))
    return (0.8 * waves[..., None] * rng.uniform(0.3, 1, (count, 1, 1, 3))).astype(np.float32)


def untrained(method: AutoencoderMethod) -> AutoencoderState:
    """Random weights and an optimiser that has taken no step."""
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    optimizer = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes.optimizer)
    return AutoencoderState(random_weights(shapes.weights), optimizer)


def trained(
    method: AutoencoderMethod, images: Any, *, steps: int, state: AutoencoderState | None = None
) -> tuple[Any, list[float]]:
    """The state after some steps on the same images, and the loss before each."""
    step, losses = jax.jit(method.step), []
    state = state or fresh_state(jax.random.key(0), method)
    for _ in range(steps):
        state, metrics = step(state, without_defects(images), jax.random.key(0))
        losses.append(float(metrics["reconstruction_loss"]))
    return state, losses


@pytest.mark.parametrize(
    "network", [Autoencoder(4, 6), UNet(2, 6, (1, 3))], ids=["autoencoder", "unet"]
)
@pytest.mark.parametrize("size", [32, 48])
def test_networks_give_images_of_the_same_size(network: Any, size: int) -> None:
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    reconstructions, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    assert (reconstructions.shape, reconstructions.dtype) == (images.shape, jnp.float32)


def test_widths_are_those_of_bergmann_and_others() -> None:
    assert widths(32, 128) == [32, 32, 64, 128]
    assert widths(32, 256) == [32, 32, 32, 64, 128]


def reconstruct(method: AutoencoderMethod, state: Any, images: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(method.autoencode, (None, 0)))(state, images))


def rank_of_gradients(method: AutoencoderMethod) -> int:
    """Count random combinations of output pixels, of eight, that depend on the image each alone."""
    state = untrained(method)
    image = stripes(1, size=method.image_size)[0]
    combinations = np.random.default_rng(1).normal(size=(8, *image.shape)).astype(np.float32)

    def gradient(state: Any, combination: Image) -> Image:
        return jax.vjp(lambda x: method.autoencode(state, x), image)[1](combination)[0]

    gradients = np.asarray(jax.jit(jax.vmap(gradient, (None, 0)))(state, combinations))
    return np.linalg.matrix_rank(gradients.reshape(8, -1), rtol=1e-3)


@pytest.mark.parametrize("kind", [L2Autoencoder, UNetMethod], ids=lambda kind: kind.name)
def test_all_of_an_image_goes_through_the_latent_vector(kind: type[AutoencoderMethod]) -> None:
    assert rank_of_gradients(build(kind, size=16, width=4, latent_size=3)) == 3


@pytest.mark.parametrize(
    "skip", [1, *(pytest.param(skip, marks=pytest.mark.slow) for skip in (2, 3, 4))]
)
def test_a_skip_goes_past_the_latent_vector(skip: int) -> None:
    assert rank_of_gradients(build(UNetMethod, size=16, width=4, latent_size=3, skips=(skip,))) == 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", [L2Autoencoder, SsimAutoencoder], ids=lambda kind: kind.name)
def test_learns_four_images_by_heart(kind: type[AutoencoderMethod]) -> None:
    _, losses = trained(build(kind, size=16), stripes(4, size=16), steps=150)
    assert losses[-1] < losses[0] / 100


@pytest.mark.slow
def test_a_skip_next_to_the_image_passes_anomalies_on() -> None:
    """The paper, section 4: what the latent vector cannot hold is reconstructed all the same."""
    normal, spot = stripes(8, size=16), np.zeros((16, 16, 1), bool)
    spot[5:11, 4:10] = True
    anomalous = np.where(spot, normal[::-1], normal)  # a piece of another image
    errors = {}
    for skips in ((), (1,)):
        method = build(UNetMethod, size=16, width=4, latent_size=4, skips=skips, learning_rate=6e-3)
        state, _ = trained(method, normal, steps=120)
        reconstructions = reconstruct(method, state, anomalous)
        errors[skips] = ((anomalous - reconstructions) ** 2)[:, spot[..., 0]].mean()
    assert errors[1,] < errors[()] / 3
    # Without, the spot is missed nearly as much as if what was there before had been reconstructed.
    covered = ((anomalous - normal) ** 2)[:, spot[..., 0]].mean()
    assert errors[()] > 0.5 * covered


@pytest.mark.parametrize("kind", [L2Autoencoder, SsimAutoencoder], ids=lambda kind: kind.name)
def test_losses_are_l2_and_ssim_and_fall(kind: type[AutoencoderMethod]) -> None:
    images, method = stripes(2, size=16), build(kind, size=16, width=4)
    state = untrained(method)
    reconstructions = reconstruct(method, state, images)
    assert 0.5 < np.abs(reconstructions).max() <= 1
    _, losses = trained(method, images, steps=20, state=state)
    if kind is L2Autoencoder:
        assert losses[0] == pytest.approx(((images - reconstructions) ** 2).mean(), rel=1e-5)
    else:
        options = {"channel_axis": -1, "data_range": 1, "gaussian_weights": True, "sigma": 1.5}
        similarities = [
            structural_similarity(x, y, use_sample_covariance=False, full=True, **options)[1].mean()
            for x, y in zip((images + 1) / 2, (reconstructions + 1) / 2, strict=True)
        ]
        assert losses[0] == pytest.approx(1 - np.mean(similarities), abs=1e-4)
    assert losses[-1] < 0.8 * losses[0]


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(InputError, match=r"^--skips 1 5: must be at least 1 and at most 4"):
        build(UNetMethod, skips=(1, 5))
    with pytest.raises(InputError, match=r"^--image-size 40: .*multiples of 16"):
        build(UNetMethod, size=40)
    with pytest.raises(InputError, match=r"^--image-size 33: "):
        build(L2Autoencoder, size=33)

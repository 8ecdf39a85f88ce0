"""AnoGAN and the networks it shares with f-AnoGAN, as small as they can be."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from i3ad_jax.errors import InputError
from i3ad_jax.methods.anogan import Anogan, AnoganState, LatentGanSettings, LatentSearchSettings
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.nn.dcgan import Generator, ImageEncoder
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.ssim import SsimSettings
from tests.support.batches import without_defects

SETTINGS = LatentGanSettings(
    width=2, latent_size=4, generator_learning_rate=1e-3, discriminator_learning_rate=2e-3
)
SEARCH = LatentSearchSettings(latent_steps=300)
METHOD = Anogan(SETTINGS, SEARCH, 32, SsimSettings(), Throughput())
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)), jnp.float32)
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def state() -> AnoganState:
    return fresh_state(jax.random.key(0), METHOD)


@pytest.fixture(scope="module")
def stepped(state: AnoganState) -> tuple[AnoganState, Any]:
    return jax.jit(METHOD.step)(state, without_defects(IMAGES), KEY)


def run_search(state: AnoganState, image: Any, count: Any) -> Any:
    begun = METHOD.begin(state, image)
    return lax.fori_loop(0, count, lambda _, search: METHOD.improve(state, image, search), begun)


@pytest.mark.slow
def test_generated_images_are_in_range_and_each_its_own(state: AnoganState) -> None:
    latents = 10 * jax.random.normal(KEY, (3, 4))
    images = jax.vmap(lambda latent: METHOD.generate(state, latent))(latents)
    assert 0.5 < np.abs(images).max() <= 1
    assert min(np.abs(images[i] - images[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.1
    np.testing.assert_allclose(METHOD.generate(state, latents[1]), images[1], atol=1e-5)


def test_step_changes_both_networks(state: AnoganState, stepped: tuple[AnoganState, Any]) -> None:
    for network in ("generator", "discriminator"):
        for part in ("weights", "moments"):
            before, after = (
                jax.tree.leaves(getattr(getattr(x, network), part)) for x in (state, stepped[0])
            )
            assert any((x != y).any() for x, y in zip(before, after, strict=True)), (network, part)


def test_losses_and_updates_are_those_of_binary_cross_entropy(
    state: AnoganState, stepped: tuple[AnoganState, Any]
) -> None:
    """Adam's first step is the learning rate in the direction of the gradient's sign."""

    def logits(discriminator: Any, images: Any) -> Any:
        outputs: Any = ImageEncoder(2, outputs=1).apply({"params": discriminator}, images)
        return outputs[1]

    def generate(generator: Any) -> Any:
        variables = {"params": generator, "batch_stats": state.generator.averages}
        latents = jax.random.normal(KEY, (3, 4))
        generated: Any = Generator(2, 32).apply(
            variables, latents, train=True, mutable=["batch_stats"]
        )
        return generated[0]

    def discriminator_loss(weights: Any) -> Any:
        real, fake = logits(weights, IMAGES), logits(weights, generate(state.generator.weights))
        cross_entropy = optax.sigmoid_binary_cross_entropy
        return (
            cross_entropy(real, jnp.ones((3, 1))).mean()
            + cross_entropy(fake, jnp.zeros((3, 1))).mean()
        )

    def generator_loss(weights: Any) -> Any:
        return -jnp.log(
            jax.nn.sigmoid(logits(stepped[0].discriminator.weights, generate(weights)))
        ).mean()

    for network, loss, rate in (
        ("discriminator", discriminator_loss, 2e-3),
        ("generator", generator_loss, 1e-3),
    ):
        before, after = (getattr(x, network).weights for x in (state, stepped[0]))
        value, gradient = jax.jit(jax.value_and_grad(loss))(before)
        assert stepped[1][f"{network}_loss"] == pytest.approx(float(value), rel=1e-4)
        for x, y, slope in zip(*map(jax.tree.leaves, (before, after, gradient)), strict=True):
            clear = np.abs(slope) > 1e-4
            np.testing.assert_allclose(
                (y - x)[clear], -rate * np.sign(slope)[clear], atol=0.01 * rate
            )


def test_metrics_are_finite_scalars(stepped: tuple[AnoganState, Any]) -> None:
    assert set(stepped[1]) == {"generator_loss", "discriminator_loss"}
    assert all(x.shape == () and np.isfinite(x) for x in stepped[1].values())


@pytest.mark.slow
def test_search_finds_an_image_of_the_generator(state: AnoganState) -> None:
    latent = jax.random.normal(jax.random.key(5), (4,))
    image = METHOD.generate(state, latent)
    begun, found = (jax.jit(run_search)(state, image, count) for count in (0, METHOD.iterations))
    before, after = (
        METHOD.search_loss(state, image, search.latent, search.features)
        for search in (begun, found)
    )
    assert after < 0.05 * before
    error, contrast = (
        np.abs(image - other).mean()
        for other in (METHOD.reconstruction(state, found), image.mean())
    )
    assert error < 0.05 * contrast


def test_search_loss_weighs_pixels_and_features(state: AnoganState) -> None:
    def distances(weight: float) -> Any:
        method = replace(METHOD, test=replace(SEARCH, feature_weight=weight))
        return method.search_loss(state, image, latent, features)

    image, latent = IMAGES[0], jnp.ones(4)
    features = METHOD.begin(state, image).features
    pixels = np.abs(image - METHOD.generate(state, latent)).sum()
    assert distances(0) == pytest.approx(float(pixels), rel=1e-5)
    assert distances(0.1) == pytest.approx(float(0.9 * distances(0) + 0.1 * distances(1)), rel=1e-5)
    again = METHOD.begin(state, METHOD.generate(state, latent)).features
    assert distances(1) == pytest.approx(float(np.abs(features - again).sum()), rel=1e-4)


def test_images_searched_together_end_as_each_alone(state: AnoganState) -> None:
    together = jax.jit(jax.vmap(run_search, in_axes=(None, 0, None)))(state, IMAGES, 20)
    alone = jax.jit(run_search)
    for i, image in enumerate(IMAGES):
        search = alone(state, image, 20)
        np.testing.assert_allclose(together.latent[i], search.latent, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [30, 36, 24])
def test_image_size_must_suit_the_networks(size: int) -> None:
    with pytest.raises(InputError, match=f"^--image-size {size}: .*multiples of 8 from 32"):
        replace(METHOD, image_size=size)

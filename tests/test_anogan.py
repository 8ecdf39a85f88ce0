"""AnoGAN and the networks it shares with f-AnoGAN, as small as they can be."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from i3ad_jax.config import Config, DataConfig, NetworkConfig, SearchConfig, TrainingConfig
from i3ad_jax.errors import InputError
from i3ad_jax.methods.anogan import AnoganModel, AnoganState
from i3ad_jax.nn.dcgan import Generator, ImageEncoder, widths

CONFIG = Config(
    data=DataConfig(image_size=32),
    network=NetworkConfig(width=2, latent_size=4),
    training=TrainingConfig(generator_learning_rate=1e-3, discriminator_learning_rate=2e-3),
    search=SearchConfig(latent_steps=300),
)
MODEL = AnoganModel(CONFIG)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype(np.float32)
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def state() -> AnoganState:
    return jax.jit(MODEL.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def stepped(state: AnoganState) -> tuple[AnoganState, Any]:
    return jax.jit(MODEL.step)(state, IMAGES, KEY)


def run_search(state: AnoganState, image: Any, count: Any) -> Any:
    begun = MODEL.begin(state, image)
    return lax.fori_loop(0, count, lambda _, search: MODEL.improve(state, image, search), begun)


@pytest.mark.parametrize(
    ("size", "bottom", "expected"),
    [(32, 4, [3, 6, 12]), (40, 5, [3, 6, 12]), (64, 4, [3, 6, 12, 24]), (256, 4, [3, 6, 12, 24, 24, 24])],
)
def test_networks_halve_and_double_any_size(size: int, bottom: int, expected: list[int]) -> None:
    assert widths(3, size) == expected
    generator, encoder = Generator(3, size), ImageEncoder(3, outputs=7)
    images, learned = jax.eval_shape(lambda key: generator.init_with_output(key, jnp.zeros((2, 5))), KEY)
    assert images.shape == (2, size, size, 3)
    assert learned["params"]["bottom"]["kernel"].shape == (5, bottom * bottom * expected[-1])
    (seen, outputs), learned = jax.eval_shape(
        lambda key: encoder.init_with_output(key, jnp.zeros((2, size, size, 3))), KEY
    )
    assert seen.shape == (2, bottom * bottom * expected[-1])
    assert outputs.shape == (2, 7)
    assert set(learned) == {"params"}


def test_generated_images_are_in_range_and_each_its_own(state: AnoganState) -> None:
    latents = 10 * jax.random.normal(KEY, (3, 4))
    images = jax.vmap(lambda latent: MODEL.generate(state, latent))(latents)
    assert 0.5 < np.abs(images).max() <= 1
    assert min(np.abs(images[i] - images[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.1
    np.testing.assert_allclose(MODEL.generate(state, latents[1]), images[1], atol=1e-5)


def test_step_changes_both_networks(state: AnoganState, stepped: tuple[AnoganState, Any]) -> None:
    for network in ("generator", "discriminator"):
        for part in ("weights", "moments"):
            before, after = (jax.tree.leaves(getattr(getattr(x, network), part)) for x in (state, stepped[0]))
            assert any((x != y).any() for x, y in zip(before, after, strict=True)), (network, part)


def test_losses_and_updates_are_those_of_binary_cross_entropy(
    state: AnoganState, stepped: tuple[AnoganState, Any]
) -> None:
    """Adam's first step is the learning rate in the direction of the gradient's sign."""

    def logits(discriminator: Any, images: Any) -> Any:
        outputs: Any = ImageEncoder(2, outputs=1).apply({"params": discriminator}, images)
        return outputs[1]

    def make(generator: Any) -> Any:
        variables = {"params": generator, "batch_stats": state.generator.averages}
        latents = jax.random.normal(KEY, (3, 4))
        made: Any = Generator(2, 32).apply(variables, latents, train=True, mutable=["batch_stats"])
        return made[0]

    def discriminator_loss(weights: Any) -> Any:
        real, fake = logits(weights, IMAGES), logits(weights, make(state.generator.weights))
        cross_entropy = optax.sigmoid_binary_cross_entropy
        return cross_entropy(real, jnp.ones((3, 1))).mean() + cross_entropy(fake, jnp.zeros((3, 1))).mean()

    def generator_loss(weights: Any) -> Any:
        return -jnp.log(jax.nn.sigmoid(logits(stepped[0].discriminator.weights, make(weights)))).mean()

    for network, loss, rate in (
        ("discriminator", discriminator_loss, 2e-3),
        ("generator", generator_loss, 1e-3),
    ):
        before, after = (getattr(x, network).weights for x in (state, stepped[0]))
        value, gradient = jax.jit(jax.value_and_grad(loss))(before)
        assert stepped[1][f"{network}_loss"] == pytest.approx(float(value), rel=1e-4)
        for x, y, slope in zip(*map(jax.tree.leaves, (before, after, gradient)), strict=True):
            clear = np.abs(slope) > 1e-4
            np.testing.assert_allclose((y - x)[clear], -rate * np.sign(slope)[clear], atol=0.01 * rate)


def test_metrics_are_finite_scalars(stepped: tuple[AnoganState, Any]) -> None:
    assert set(stepped[1]) == {"generator_loss", "discriminator_loss"}
    assert all(x.shape == () and np.isfinite(x) for x in stepped[1].values())


def test_search_finds_an_image_of_the_generator(state: AnoganState) -> None:
    latent = jax.random.normal(jax.random.key(5), (4,))
    image = MODEL.generate(state, latent)
    begun, found = (jax.jit(run_search)(state, image, count) for count in (0, MODEL.iterations))
    before, after = (MODEL.search_loss(state, image, search.latent, search.seen) for search in (begun, found))
    assert after < 0.05 * before
    error, contrast = (
        np.abs(image - other).mean() for other in (MODEL.reconstruction(state, found), image.mean())
    )
    assert error < 0.05 * contrast


def test_search_loss_weighs_pixels_and_features(state: AnoganState) -> None:
    def distances(weight: float) -> Any:
        search = replace(CONFIG.search, feature_weight=weight)
        return AnoganModel(replace(CONFIG, search=search)).search_loss(state, image, latent, seen)

    image, latent = jnp.asarray(IMAGES[0]), jnp.ones(4)
    seen = MODEL.begin(state, image).seen
    pixels = np.abs(image - MODEL.generate(state, latent)).sum()
    assert distances(0) == pytest.approx(float(pixels), rel=1e-5)
    assert distances(0.1) == pytest.approx(float(0.9 * distances(0) + 0.1 * distances(1)), rel=1e-5)
    again = MODEL.begin(state, MODEL.generate(state, latent)).seen
    assert distances(1) == pytest.approx(float(np.abs(seen - again).sum()), rel=1e-4)


def test_images_searched_together_end_as_each_alone(state: AnoganState) -> None:
    together = jax.jit(jax.vmap(run_search, in_axes=(None, 0, None)))(state, IMAGES, 20)
    alone = jax.jit(run_search)
    for i, image in enumerate(IMAGES):
        search = alone(state, image, 20)
        np.testing.assert_allclose(together.latent[i], search.latent, rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", [30, 36, 24])
def test_image_size_must_suit_the_networks(size: int) -> None:
    with pytest.raises(InputError, match=f"^--image-size {size}: .*multiples of 8 from 32"):
        AnoganModel(replace(CONFIG, data=DataConfig(image_size=size)))

"""f-AnoGAN at its smallest: the penalty, the two parts of the training, the encoder."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.errors import InputError
from i3ad_jax.methods.f_anogan import FAnogan, FAnoganSettings, FAnoganState, gradient_norms
from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.ssim import SsimSettings
from tests.support.batches import without_defects
from tests.support.layers import halve
from tests.support.random_weights import random_weights

SETTINGS = FAnoganSettings(
    width=4,
    latent_size=4,
    steps=1200,
    generator_learning_rate=3e-3,
    discriminator_learning_rate=3e-3,
    critic_steps=3,
    encoder_fraction=0.4,
)
METHOD = FAnogan(SETTINGS, NoSettings(), 32, SsimSettings(), Throughput())
STEP = jax.jit(METHOD.step)
RAMP = np.linspace(-0.8, 0.8, 32)
# Two directions, two colours, two strengths.
IMAGES = np.stack(
    [
        strength * colour * np.broadcast_to(ramp[..., None], (32, 32, 3))
        for ramp in (RAMP[:, None] + 0 * RAMP, RAMP + 0 * RAMP[:, None])
        for colour in (np.array([1, 0.2, -0.5]), np.array([-0.4, 1, 0.6]))
        for strength in (0.5, 1)
    ]
).astype(np.float32)
KEY = jax.random.key(1)
NAMES = {"critic_loss", "gradient_norm", "generator_loss", "encoder_loss"}
LATENTS = np.random.default_rng(0).normal(size=(8, SETTINGS.latent_size)).astype(np.float32)
generate = jax.jit(
    lambda state, latents: METHOD.generator.apply(
        state.generator.weights, latents, averages=state.generator.averages
    )
)
encode = jax.jit(jax.vmap(METHOD.begin, in_axes=(None, 0)))


@pytest.fixture(scope="module")
def fresh() -> FAnoganState:
    return fresh_state(jax.random.key(0), METHOD)


@pytest.fixture(scope="module")
def encoding(fresh: FAnoganState) -> FAnoganState:
    """Start of the encoder's training, with a generator whose images differ."""
    generator = replace(fresh.generator, weights=random_weights(fresh.generator.weights))
    return replace(fresh, generator=generator, steps=jnp.int32(METHOD.gan_steps))


@pytest.fixture(scope="module")
def trained(fresh: FAnoganState) -> tuple[FAnoganState, list[Any]]:
    state, history = fresh, []
    for number in range(SETTINGS.steps):
        state, metrics = STEP(state, without_defects(IMAGES), jax.random.fold_in(KEY, number))
        history.append(metrics)
    return state, jax.device_get(history)


def plain_critic(weights: Any, image: Any) -> Any:
    """The critic's value of one image, by XLA's convolution and its derivatives."""
    x = image[None]
    for level in range(3):
        taps = weights[f"down_{level}"]["taps"]
        x = halve(x, taps["kernel"]) + taps["bias"]
        x = jnp.where(x > 0, x, 0.2 * x)
    return (x.ravel() @ weights["outputs"]["kernel"] + weights["outputs"]["bias"])[0]


def plain_norm(weights: Any, image: Any) -> Any:
    return jnp.linalg.norm(jax.grad(plain_critic, argnums=1)(weights, image).ravel())


def test_gradient_norms_are_those_of_single_images(fresh: FAnoganState) -> None:
    weights = fresh.critic.weights
    norms = jax.jit(lambda images: gradient_norms(lambda x: METHOD.criticise(weights, x), images))(
        IMAGES
    )
    expected = jax.jit(jax.vmap(plain_norm, in_axes=(None, 0)))(weights, IMAGES)
    assert np.std(expected) > 0.01 * np.mean(expected)
    np.testing.assert_allclose(norms, expected, rtol=1e-5)


def test_critic_loss_and_its_gradient_equal_a_plain_loop(fresh: FAnoganState) -> None:
    """The gradient is of second order, through the convolutions' own rule."""
    real, generated, shares = IMAGES[:2], 0.5 * IMAGES[3:5], jnp.array([0.2, 0.7])

    def plain_loss(weights: Any) -> Any:
        total, norms = 0, []
        for x, y, share in zip(real, generated, shares, strict=True):
            norms.append(plain_norm(weights, share * x + (1 - share) * y))
            penalty = 10 * (norms[-1] - 1) ** 2
            total += plain_critic(weights, y) - plain_critic(weights, x) + penalty
        return total / 2, sum(norms) / 2

    weights = fresh.critic.weights
    (loss, norm), gradient = jax.jit(jax.value_and_grad(METHOD.critic_loss, has_aux=True))(
        weights, real, generated, shares
    )
    (expected, expected_norm), expected_gradient = jax.jit(
        jax.value_and_grad(plain_loss, has_aux=True)
    )(weights)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert norm == pytest.approx(float(expected_norm), rel=1e-5)
    # Rounding of float32 is up to 4e-7 with the instructions of SSE4.2, AVX2 and AVX-512.
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=3e-6),
        gradient,
        expected_gradient,
    )


def test_norm_of_a_constant_critic_has_a_gradient() -> None:
    def penalty(slope: Any) -> Any:
        return jnp.sum(
            (gradient_norms(lambda x: slope * x.mean(axis=(1, 2, 3)), jnp.asarray(IMAGES)) - 1) ** 2
        )

    assert np.isfinite(jax.jit(jax.grad(penalty))(0.0))


def changed(before: FAnoganState, after: FAnoganState) -> set[str]:
    """The networks of which anything differs."""
    return {
        name
        for name in ("generator", "critic", "encoder")
        if any(
            (np.asarray(x) != np.asarray(y)).any()
            for x, y in zip(
                *(jax.tree.leaves(getattr(s, name)) for s in (before, after)), strict=True
            )
        )
    }


def test_each_part_changes_its_own_networks(fresh: FAnoganState) -> None:
    """Three steps of the critic for one of the generator, 720 of 1200 steps; then the encoder's."""
    expected = {0: {"critic"}, 1: {"critic"}, 2: {"critic", "generator"}, 3: {"critic"}}
    expected |= {
        5: {"critic", "generator"},
        719: {"critic", "generator"},
        720: {"encoder"},
        2000: {"encoder"},
    }
    for steps, networks in expected.items():
        state = replace(fresh, steps=jnp.int32(steps))
        stepped, metrics = jax.device_get(STEP(state, without_defects(IMAGES), KEY))
        assert changed(state, stepped) == networks, steps
        assert stepped.steps == steps + 1
        assert set(metrics) == NAMES
        assert all(x.shape == () and np.isfinite(x) for x in metrics.values())
        computed = {name.removesuffix("_loss") for name, value in metrics.items() if value != 0}
        assert computed - {"gradient_norm"} == networks, steps
        assert ("gradient_norm" in computed) == ("critic" in networks)


def test_the_generator_learns_to_please_the_critic(fresh: FAnoganState) -> None:
    before = replace(fresh, steps=jnp.int32(2))
    after, _ = STEP(before, without_defects(IMAGES), KEY)
    criticise = jax.jit(METHOD.criticise)
    old, new = (
        np.mean(
            criticise(
                after.critic.weights, generate(replace(after, generator=x.generator), LATENTS)
            )
        )
        for x in (before, after)
    )
    assert new > old + 1e-3


def test_the_encoder_learns_to_invert_the_generator(encoding: FAnoganState) -> None:
    state, losses = encoding, []
    images = np.asarray(generate(encoding, LATENTS))
    for _ in range(32):
        state, metrics = STEP(state, without_defects(images), KEY)
        losses.append(float(metrics["encoder_loss"]))
    assert losses[-1] < losses[0] / 10


@pytest.mark.slow
def test_metrics_of_a_training_are_finite_scalars(trained: tuple[FAnoganState, list[Any]]) -> None:
    for metrics in trained[1]:
        assert set(metrics) == NAMES
        assert all(x.shape == () and np.isfinite(x) for x in metrics.values())


@pytest.mark.slow
@pytest.mark.parametrize("weight", [10.0, 100.0])
def test_penalty_holds_the_gradient_near_1(fresh: FAnoganState, weight: float) -> None:
    """The gradient's norm settles where the critic gains most.

    A norm n gains W n, where W is the distance of real and generated images; less the penalty of
    weight L that is most at n = 1 + W / (2 L). The loss, L (n - 1)**2 - W n, tells W.
    """
    method = replace(METHOD, training=replace(SETTINGS, gradient_penalty=weight))
    step, state, history = jax.jit(method.step), fresh, []
    for number in range(150):
        state, metrics = step(state, without_defects(IMAGES), jax.random.fold_in(KEY, number))
        history.append((metrics["gradient_norm"], metrics["critic_loss"]))
    norm, loss = np.mean(history[-100:], axis=0)
    distance = (weight * (norm - 1) ** 2 - loss) / norm
    assert norm == pytest.approx(1 + distance / (2 * weight), abs=0.1)
    if weight == 100:
        assert norm == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_encoder_beats_the_mean_image(trained: tuple[FAnoganState, list[Any]]) -> None:
    reconstructions = encode(trained[0], IMAGES)
    assert np.mean((reconstructions - IMAGES) ** 2) < 0.7 * np.mean(
        (IMAGES.mean(axis=0) - IMAGES) ** 2
    )
    losses = [metrics["encoder_loss"] for metrics in trained[1]]
    assert losses[-1] < 0.5 * losses[720]


def test_features_are_what_the_encoder_loss_compares(encoding: FAnoganState) -> None:
    features = jax.jit(jax.vmap(METHOD.features, in_axes=(None, 0)))
    reconstructions = np.asarray(encode(encoding, IMAGES))
    of_images, of_reconstructions = (
        np.asarray(features(encoding, images)) for images in (IMAGES, reconstructions)
    )
    assert of_images.shape == (8, 4 * 4 * 16)
    distance = np.mean((of_images - of_reconstructions) ** 2)
    _, metrics = STEP(encoding, without_defects(IMAGES), KEY)
    expected = np.mean((reconstructions - IMAGES) ** 2) + distance
    assert metrics["encoder_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert distance > 0.01 * expected


@pytest.mark.parametrize("size", [30, 36, 24])
def test_image_size_must_suit_the_networks(size: int) -> None:
    with pytest.raises(InputError, match=f"^--image-size {size}: .*multiples of 8 from 32"):
        replace(METHOD, image_size=size)

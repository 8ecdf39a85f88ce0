"""f-AnoGAN, as small as it can be: the penalty, the two parts of the training, what the encoder learns."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import without_defects
from test_nn import halve

from i3ad_jax.errors import InputError
from i3ad_jax.fit import fresh_state
from i3ad_jax.methods.f_anogan import FAnogan, FAnoganSettings, FAnoganState, gradient_norms
from i3ad_jax.methods.method import NoSettings
from i3ad_jax.runtime.devices import ThroughputSettings
from i3ad_jax.scoring.ssim import SsimSettings

SETTINGS = FAnoganSettings(
    width=4,
    latent_size=4,
    steps=1200,
    generator_learning_rate=3e-3,
    discriminator_learning_rate=3e-3,
    critic_steps=3,
    encoder_fraction=0.4,
)
METHOD = FAnogan(SETTINGS, NoSettings(), 32, SsimSettings(), ThroughputSettings())
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


@pytest.fixture(scope="module")
def fresh() -> FAnoganState:
    return fresh_state(jax.random.key(0), METHOD)


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
    norms = gradient_norms(lambda images: METHOD.criticise(weights, images), jnp.asarray(IMAGES))
    assert norms == pytest.approx([float(plain_norm(weights, image)) for image in IMAGES], rel=1e-4)


def test_critic_loss_and_its_gradient_equal_a_plain_loop(fresh: FAnoganState) -> None:
    """The gradient is of second order, through the convolutions' own rule."""
    real, generated, shares = IMAGES[:2], 0.5 * IMAGES[3:5], jnp.array([0.2, 0.7])

    def plain_loss(weights: Any) -> Any:
        total = 0
        for x, y, share in zip(real, generated, shares, strict=True):
            penalty = 10 * (plain_norm(weights, share * x + (1 - share) * y) - 1) ** 2
            total += plain_critic(weights, y) - plain_critic(weights, x) + penalty
        return total / 2

    def mean_norm(weights: Any) -> Any:
        mixtures = [s * x + (1 - s) * y for x, y, s in zip(real, generated, shares, strict=True)]
        return np.mean([plain_norm(weights, mixture) for mixture in mixtures])

    weights = fresh.critic.weights
    (loss, norm), gradient = jax.jit(jax.value_and_grad(METHOD.critic_loss, has_aux=True))(
        weights, real, generated, shares
    )
    expected, expected_gradient = jax.jit(jax.value_and_grad(plain_loss))(weights)
    assert loss == pytest.approx(float(expected), rel=1e-4)
    assert norm == pytest.approx(float(mean_norm(weights)), rel=1e-4)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4), gradient, expected_gradient
    )


def test_norm_of_a_constant_critic_has_a_gradient() -> None:
    def penalty(slope: Any) -> Any:
        return jnp.sum(
            (gradient_norms(lambda x: slope * x.mean(axis=(1, 2, 3)), jnp.asarray(IMAGES)) - 1) ** 2
        )

    assert np.isfinite(jax.grad(penalty)(0.0))


def changed(before: FAnoganState, after: FAnoganState) -> set[str]:
    """The networks of which anything differs."""
    return {
        name
        for name in ("generator", "critic", "encoder")
        if any(
            (x != y).any()
            for x, y in zip(*(jax.tree.leaves(getattr(s, name)) for s in (before, after)), strict=True)
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
        stepped, metrics = STEP(state, without_defects(IMAGES), KEY)
        assert changed(state, stepped) == networks, steps
        assert stepped.steps == steps + 1
        computed = {name.removesuffix("_loss") for name, value in metrics.items() if value != 0}
        assert computed - {"gradient_norm"} == networks, steps
        assert ("gradient_norm" in computed) == ("critic" in networks)


def test_metrics_are_finite_scalars(trained: tuple[FAnoganState, list[Any]]) -> None:
    names = {"critic_loss", "gradient_norm", "generator_loss", "encoder_loss"}
    for metrics in trained[1]:
        assert set(metrics) == names
        assert all(x.shape == () and np.isfinite(x) for x in metrics.values())


@pytest.mark.slow
@pytest.mark.parametrize("weight", [10.0, 100.0])
def test_penalty_holds_the_gradient_near_1(fresh: FAnoganState, weight: float) -> None:
    """What the critic gains by a norm n is W n, W the distance of real and generated images; less the penalty
    of weight L that is most at n = 1 + W / (2 L). The loss, L (n - 1)**2 - W n, tells W.
    """
    method = replace(METHOD, training=replace(SETTINGS, gradient_penalty=weight))
    step, state, history = jax.jit(method.step), fresh, []
    for number in range(250):
        state, metrics = step(state, without_defects(IMAGES), jax.random.fold_in(KEY, number))
        history.append((metrics["gradient_norm"], metrics["critic_loss"]))
    norm, loss = np.mean(history[-100:], axis=0)
    distance = (weight * (norm - 1) ** 2 - loss) / norm
    assert norm == pytest.approx(1 + distance / (2 * weight), abs=0.1)
    if weight == 100:
        assert norm == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_encoder_beats_the_mean_image(trained: tuple[FAnoganState, list[Any]]) -> None:
    reconstructions = jax.vmap(lambda image: METHOD.begin(trained[0], image))(IMAGES)
    assert np.mean((reconstructions - IMAGES) ** 2) < 0.7 * np.mean((IMAGES.mean(axis=0) - IMAGES) ** 2)
    losses = [metrics["encoder_loss"] for metrics in trained[1]]
    assert losses[-1] < 0.5 * losses[720]


def test_features_are_what_the_encoder_loss_compares(trained: tuple[FAnoganState, list[Any]]) -> None:
    state = trained[0]
    features = jax.vmap(lambda image: METHOD.features(state, image))
    assert features(IMAGES).shape == (8, 4 * 4 * 16)
    reconstructions = jax.vmap(lambda image: METHOD.begin(state, image))(IMAGES)
    distance = np.mean((features(IMAGES) - features(reconstructions)) ** 2)
    _, metrics = STEP(state, without_defects(IMAGES), KEY)
    expected = np.mean((reconstructions - IMAGES) ** 2) + distance
    assert metrics["encoder_loss"] == pytest.approx(float(expected), rel=1e-3)


@pytest.mark.parametrize("size", [30, 36, 24])
def test_image_size_must_suit_the_networks(size: int) -> None:
    with pytest.raises(InputError, match=f"^--image-size {size}: .*multiples of 8 from 32"):
        replace(METHOD, image_size=size)

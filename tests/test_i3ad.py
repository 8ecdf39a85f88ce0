"""Initial state, training step and samples of the method, with the smallest networks."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import roc_auc_score

from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.losses import discount_weights
from i3ad_jax.inpainting.masks import brush_masks
from i3ad_jax.inpainting.refine import LoopSettings
from i3ad_jax.methods.i3ad import I3AD, I3adSettings, I3adState, I3adTestSettings
from i3ad_jax.methods.inpainting_gan import GanState
from i3ad_jax.methods.method import Batch, PlantedSquares
from i3ad_jax.methods.segmentation_head import SegmenterSettings
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.ssim import SsimSettings
from tests.support.small_gan import SmallI3AD

SETTINGS = I3adSettings(
    width=2,
    dilations=(2,),
    discriminator_width=2,
    discriminator_depth=2,
    batch_size=2,
    generator_learning_rate=5e-3,
    adversarial_weight=0.1,
    average=0.3,
    segmenter=SegmenterSettings(segmenter_width=4, segmenter_depth=1),
)
OPTIONS = SETTINGS, I3adTestSettings(), 32, SsimSettings(), Throughput()
METHOD = I3AD(*OPTIONS)
COLOURS, RAMP = (
    np.random.default_rng(0).uniform(-1, 1, (2, 1, 1, 3)),
    np.linspace(0.2, 1, 32)[:, None],
)
ARRAY = np.broadcast_to(COLOURS * RAMP, (2, 32, 32, 3)).astype(np.float32)
MASKS = np.zeros((2, 32, 32, 1), np.float32)
MASKS[0, 8:16, 12:24] = 1
IMAGES = jnp.asarray(ARRAY)
# a part of the first image inverted
DEFECTIVE = PlantedSquares(
    jnp.asarray(ARRAY * (1 - 2 * MASKS)), jnp.zeros_like(IMAGES), jnp.asarray(MASKS)
)
BATCH = Batch(IMAGES, DEFECTIVE)
KEY = jax.random.key(1)


@pytest.fixture(scope="module", params=[SmallI3AD, pytest.param(I3AD, marks=pytest.mark.slow)])
def method(request: pytest.FixtureRequest) -> I3AD:
    """Two layers as the generator show the same of the step; with the real one it is slow."""
    return request.param(*OPTIONS)


@pytest.fixture(scope="module")
def state(method: I3AD) -> I3adState:
    return fresh_state(jax.random.key(0), method)


@pytest.fixture(scope="module")
def step(method: I3AD) -> Callable[..., Any]:
    return jax.jit(method.step)


@pytest.fixture(scope="module")
def stepped(step: Callable[..., Any], state: I3adState) -> tuple[I3adState, Any]:
    """The state after a step and its metrics, as NumPy arrays."""
    return jax.device_get(step(state, BATCH, KEY))


@pytest.fixture(scope="module")
def trained(step: Callable[..., Any], state: I3adState) -> tuple[I3adState, Any]:
    """The state after 60 steps, and the metrics of one more with the first one's masks."""
    for number in range(60):
        state, _ = step(state, BATCH, jax.random.fold_in(KEY, number))
    return state, step(state, BATCH, KEY)[1]


def adam_step(loss: Callable[[Any], Any], weights: Any, *, rate: float) -> Any:
    """Weights after Adam's first step, and the gradient."""
    optimizer = optax.adam(rate, b1=SETTINGS.adam_beta1, b2=SETTINGS.adam_beta2)
    gradient = jax.grad(loss)(weights)
    updates, _ = optimizer.update(gradient, optimizer.init(weights))
    return optax.apply_updates(weights, updates), gradient


def discriminate(weights: Any, spectral: Any, images: Any, masks: Any) -> Any:
    return METHOD.gan.patchgan.apply(
        {"params": weights, "batch_stats": spectral}, images, masks, update_stats=False
    )


def assert_same_weights(actual: Any, expected: Any) -> None:
    """Compare with the result of `adam_step`, except where a gradient is near Adam's epsilon.

    That is 1e-8: there a part in a thousand of a step is the gradient's rounding. Elsewhere the two
    differ by at most 1.2e-5 of a step, as measured with the instructions of SSE4.2, AVX2 and
    AVX-512.
    """
    tolerance = 1e-4 * SETTINGS.generator_learning_rate
    num_clear = num_weights = 0
    for x, y, slope in zip(jax.tree.leaves(actual), *map(jax.tree.leaves, expected), strict=True):
        clear = (np.abs(slope) > 1e-7) | (slope == 0)
        np.testing.assert_allclose(x[clear], y[clear], rtol=0, atol=tolerance)
        num_clear, num_weights = num_clear + clear.sum(), num_weights + clear.size
    assert num_clear > 0.99 * num_weights


@partial(jax.jit, static_argnums=0)
def expected_steps(method: I3AD, gan: GanState, stepped: GanState) -> tuple[Any, Any]:
    """Adam's steps of the discriminator and, against the new discriminator, of the generator."""
    masks = brush_masks(KEY, IMAGES)
    pixel_weights = discount_weights(masks, discount=0.99)

    def generate(weights: Any) -> Any:
        return method.gan.inpainter.apply({"params": weights}, IMAGES * (1 - masks), masks)

    filled = jnp.where(masks > 0, generate(gan.generator)[1], IMAGES)

    def discriminator_loss(weights: Any) -> Any:
        real, fake = (
            discriminate(weights, gan.spectral, images, masks) for images in (IMAGES, filled)
        )
        return jnp.maximum(0, 1 - real).mean() + jnp.maximum(0, 1 + fake).mean()

    def generator_loss(weights: Any) -> Any:
        outputs = generate(weights)
        fake = jnp.where(masks > 0, outputs[1], IMAGES)
        logits = discriminate(stepped.discriminator, stepped.spectral, fake, masks)
        reconstruction = sum((pixel_weights * jnp.abs(x - IMAGES)).mean() for x in outputs)
        return reconstruction - 0.1 * logits.mean()

    return (
        adam_step(discriminator_loss, gan.discriminator, rate=SETTINGS.discriminator_learning_rate),
        adam_step(generator_loss, gan.generator, rate=SETTINGS.generator_learning_rate),
    )


def test_each_network_takes_one_adam_step(
    method: I3AD, state: I3adState, stepped: tuple[I3adState, Any]
) -> None:
    """The discriminator on real and filled images, then the generator against the new one."""
    discriminator, generator = jax.device_get(expected_steps(method, state.gan, stepped[0].gan))
    assert_same_weights(stepped[0].gan.discriminator, discriminator)
    assert_same_weights(stepped[0].gan.generator, generator)


def test_step_changes_both_networks_and_the_power_iteration(
    state: I3adState, stepped: tuple[I3adState, Any]
) -> None:
    for name in (field.name for field in fields(GanState)):
        before, after = (jax.tree.leaves(getattr(x.gan, name)) for x in (state, stepped[0]))
        assert any((x != y).any() for x, y in zip(before, after, strict=True)), name


def test_metrics_are_finite_scalars(stepped: tuple[I3adState, Any]) -> None:
    metrics = stepped[1]
    names = {"generator", "discriminator", "adversarial", "reconstruction", "segmentation"}
    assert set(metrics) == {f"{name}_loss" for name in names}
    assert all(x.shape == () and np.isfinite(x) for x in metrics.values())
    total = 0.1 * metrics["adversarial_loss"] + metrics["reconstruction_loss"]
    assert metrics["generator_loss"] == pytest.approx(float(total), rel=1e-6)


def test_power_iteration_starts_near_the_largest_singular_value(state: I3adState) -> None:
    for layer in (0, 1):
        kernel = np.asarray(state.gan.discriminator[f"conv_{layer}"]["kernel"])
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        sigma = state.gan.spectral[f"spectral_norm_{layer}"][f"conv_{layer}/kernel/sigma"]
        assert sigma == pytest.approx(largest, rel=0.05)


def test_generator_learns_two_images_by_heart(
    stepped: tuple[I3adState, Any], trained: tuple[I3adState, Any]
) -> None:
    assert trained[1]["reconstruction_loss"] < 0.5 * stepped[1]["reconstruction_loss"]


def test_segmenter_learns_a_defect(
    method: I3AD, stepped: tuple[I3adState, Any], trained: tuple[I3adState, Any]
) -> None:
    assert trained[1]["segmentation_loss"] < 0.5 * stepped[1]["segmentation_loss"]
    images, centre, masks = DEFECTIVE
    maps = method.segmented(trained[0], Squares(images, centre, jnp.ones(2)))
    defects = masks[..., 0] > 0
    assert maps.min() >= 0
    assert maps.max() <= 1
    assert roc_auc_score(np.ravel(defects), np.ravel(maps)) > 0.95


def test_segmenter_finds_the_defect_in_a_larger_image(trained: tuple[I3adState, Any]) -> None:
    """It learned from squares of 32 x 32 pixels; here one of them is a corner of the image."""
    image, normal, mask = (np.asarray(x[0]) for x in (DEFECTIVE.images, IMAGES, DEFECTIVE.masks))
    rows = np.concatenate([np.concatenate([image, normal[:, ::-1]], axis=1)] * 2)
    rows[32:, :32] = normal[::-1]
    defects = np.zeros((64, 64))
    defects[:32, :32] = mask[..., 0]
    whole = jnp.asarray(rows)[None]
    (found,) = METHOD.segmented(trained[0], Squares(whole, jnp.zeros_like(whole), jnp.ones(1)))
    assert found.shape == (64, 64)
    assert roc_auc_score(np.ravel(defects) > 0, np.ravel(found)) > 0.9


def test_averages_follow_the_weights(step: Callable[..., Any], state: I3adState) -> None:
    """At first faster: by 9 / (10 + t) of the way after t steps."""
    averages = [np.asarray(x, np.float64) for x in weights_and_averages(state)[1]]
    for number in range(1, 5):
        state, _ = step(state, BATCH, KEY)
        weights, found = weights_and_averages(state)
        share = max(1 - SETTINGS.average, 9 / (10 + number))
        averages = [old + share * (new - old) for old, new in zip(averages, weights, strict=True)]
        for actual, expected in zip(found, averages, strict=True):
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    lag = [np.abs(x - y).max() for x, y in zip(*weights_and_averages(state), strict=True)]
    assert max(lag) > 1e-4


def weights_and_averages(state: I3adState) -> tuple[list[Any], list[Any]]:
    assert state.segmenter is not None
    weights, averages = (
        (state.gan.generator, state.segmenter.weights),
        (state.gan.average, state.segmenter.average),
    )
    return jax.tree.leaves(weights), jax.tree.leaves(averages)


def test_sample_shows_images_holes_and_fillings(method: I3AD, state: I3adState) -> None:
    images, masked, filled = np.asarray(method.sample(state, IMAGES, KEY))
    np.testing.assert_array_equal(images, IMAGES)
    holes = (masked == 0).all(axis=-1)
    assert 0 < holes.mean() < 1
    np.testing.assert_array_equal(masked[~holes], IMAGES[~holes])
    np.testing.assert_array_equal(filled[~holes], IMAGES[~holes])
    # What is in the holes of an image cannot be seen by the network.
    changed = np.where(holes[..., None], np.float32(1), IMAGES)
    _, _, filled_again = method.sample(state, jnp.asarray(changed), KEY)
    np.testing.assert_array_equal(filled_again, filled)


@pytest.mark.parametrize("size", [30, 36, 24])
def test_image_size_must_suit_the_network(size: int) -> None:
    with pytest.raises(InputError, match=f"^--image-size {size}: .*multiples of 8 from 32"):
        replace(METHOD, image_size=size)


def test_a_patch_has_a_pixel_at_least() -> None:
    test = I3adTestSettings(refine=LoopSettings(patches=33))
    with pytest.raises(InputError, match=r"^--patches 33: .*at most the image size, 32"):
        replace(METHOD, test=test)


def test_unknown_method() -> None:
    with pytest.raises(InputError, match=r"^--method nonsense: unknown; one of i3ad"):
        default_config("nonsense")

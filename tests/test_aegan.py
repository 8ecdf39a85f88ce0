"""AEGAN is I3AD's networks fed the whole image, and all of it generated."""

import jax
import numpy as np
import pytest

from i3ad_jax.methods.i3ad import I3adSettings, I3adState, I3adTestSettings
from i3ad_jax.methods.inpainting_gan import GanSettings, GanState
from i3ad_jax.methods.method import ComputeSettings
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.ssim import SsimSettings
from tests.support.batches import without_defects
from tests.support.small_gan import SmallAegan, SmallI3AD, untrained_gan

SETTINGS = GanSettings(
    width=2,
    dilations=(2,),
    discriminator_width=2,
    discriminator_depth=2,
    generator_learning_rate=1e-3,
    adversarial_weight=1e-3,
)
OTHERS = 32, SsimSettings(), Throughput()
AEGAN = SmallAegan(SETTINGS, ComputeSettings(), *OTHERS)
I3AD_METHOD = SmallI3AD(I3adSettings(**SETTINGS.to_json()), I3adTestSettings(), *OTHERS)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
ONES = np.ones((2, 32, 32, 1), np.float32)
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def state() -> GanState:
    return untrained_gan(I3AD_METHOD.gan)


def test_the_two_can_swap_their_states(state: GanState) -> None:
    """I3AD's weights work in AEGAN, whose step is I3AD's with full masks and unmasked inputs."""
    assert jax.tree.structure(state) == jax.tree.structure(jax.eval_shape(AEGAN.init, KEY))
    stepped, losses = jax.device_get(jax.jit(AEGAN.step)(state, without_defects(IMAGES), KEY))
    step = jax.jit(
        lambda state, images, ones: I3AD_METHOD.gan.step(
            state, images, inputs=images, masks=ones, weights=ones
        )
    )
    masked, masked_losses = jax.device_get(step(state, IMAGES, ONES))
    # One of the two is given its masks, the other makes them: rounding alone may differ.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), stepped, masked)
    # without a decay
    jax.tree.map(np.testing.assert_array_equal, stepped.average, stepped.generator)
    assert losses["reconstruction_loss"] == pytest.approx(
        float(masked_losses["reconstruction_loss"])
    )
    moves = [
        np.abs(x - y).max() for x, y in zip(*map(jax.tree.leaves, (stepped, state)), strict=True)
    ]
    assert max(moves) > 0.1


def test_the_reconstruction_depends_on_every_pixel_shown(state: GanState) -> None:
    image = IMAGES[0]
    begin = jax.jit(AEGAN.begin)
    _, fine = jax.jit(I3AD_METHOD.gan.inpaint)(state.average, image[None], ONES[:1])
    np.testing.assert_allclose(begin(state, image), fine[0], atol=1e-6)
    changed = image.copy()
    changed[5, 7] *= -1
    moved = np.abs(np.asarray(begin(state, changed)) - begin(state, image)).max(axis=-1)
    assert moved[5, 7] > 0.01
    # I3AD, whose hole is the whole image, is given no pixel of it.
    blind = jax.jit(lambda state, *masked: I3AD_METHOD.inpaint(I3adState(state, None))(*masked))(
        state, np.zeros_like(image), ONES[0]
    )
    assert np.abs(np.asarray(blind) - fine[0]).max() > 0.1


def test_features_are_the_discriminators_output(state: GanState) -> None:
    features = jax.jit(AEGAN.features)(state, IMAGES[0])
    assert features.shape == (8 * 8 * 4,)
    logits = jax.jit(AEGAN.gan.discriminate)(
        state.discriminator, state.spectral, IMAGES[:1], ONES[:1]
    )
    np.testing.assert_allclose(features, logits.ravel(), rtol=0, atol=1e-6)

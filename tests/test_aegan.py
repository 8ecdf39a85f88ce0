"""AEGAN is I3AD's networks fed the whole image, and all of it generated."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import without_defects
from random_weights import LARGEST_GAIN, random_weights

from i3ad_jax.fit import fresh_state
from i3ad_jax.methods.aegan import Aegan
from i3ad_jax.methods.i3ad import I3AD, I3adSettings, I3adState, I3adTestSettings
from i3ad_jax.methods.inpainting_gan import GanSettings, GanState
from i3ad_jax.methods.method import ComputeSettings
from i3ad_jax.runtime.devices import ThroughputSettings
from i3ad_jax.scoring.ssim import SsimSettings

SETTINGS = GanSettings(
    width=2,
    dilations=(2,),
    discriminator_width=2,
    discriminator_depth=2,
    generator_learning_rate=1e-3,
    adversarial_weight=1e-3,
)
OTHERS = 32, SsimSettings(), ThroughputSettings()
AEGAN = Aegan(SETTINGS, ComputeSettings(), *OTHERS)
I3AD_METHOD = I3AD(I3adSettings(**SETTINGS.to_json()), I3adTestSettings(), *OTHERS)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)), jnp.float32)
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def state() -> GanState:
    return fresh_state(jax.random.key(0), I3AD_METHOD).gan


def test_the_two_can_swap_their_states(state: GanState) -> None:
    """I3AD's weights work in AEGAN, whose step is I3AD's with masks of ones and inputs without holes."""
    ones = jnp.ones_like(IMAGES[..., :1])
    assert jax.tree.structure(state) == jax.tree.structure(jax.eval_shape(AEGAN.init, KEY))
    stepped, losses = jax.jit(AEGAN.step)(state, without_defects(IMAGES), KEY)
    masked, masked_losses = jax.jit(
        lambda state: I3AD_METHOD.gan.step(state, IMAGES, inputs=IMAGES, masks=ones, weights=ones)
    )(state)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), stepped, masked)
    jax.tree.map(np.testing.assert_array_equal, stepped.average, stepped.generator)  # without a decay
    assert losses["reconstruction_loss"] == pytest.approx(float(masked_losses["reconstruction_loss"]))


def test_the_reconstruction_depends_on_every_pixel_shown(state: GanState) -> None:
    state = replace(state, average=random_weights(state.average, gain=LARGEST_GAIN))
    image = IMAGES[0]
    inpaint = jax.jit(I3AD_METHOD.gan.inpaint)
    _, fine = inpaint(state.average, image[None], jnp.ones((1, 32, 32, 1)))
    np.testing.assert_allclose(jax.jit(AEGAN.begin)(state, image), fine[0], atol=1e-6)
    # I3AD, whose hole is the whole image, is given no pixel of it.
    blind = jax.jit(lambda state, *masked: I3AD_METHOD.inpaint(I3adState(state, None))(*masked))(
        state, jnp.zeros_like(image), jnp.ones((32, 32, 1))
    )
    assert jnp.abs(blind - fine[0]).max() > 1e-3


def test_features_are_the_discriminators_output(state: GanState) -> None:
    features = AEGAN.features(state, IMAGES[0])
    assert features.shape == (8 * 8 * 4,)
    ones = jnp.ones((1, 32, 32, 1))
    logits = AEGAN.gan.discriminate(state.discriminator, state.spectral, IMAGES[:1], ones)
    np.testing.assert_array_equal(features, logits.ravel())

"""AEGAN is I3AD's networks fed the whole image, everything made anew."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_weights

from i3ad_jax.config import Config, DataConfig, NetworkConfig, TrainingConfig
from i3ad_jax.methods.aegan import AeganModel
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.inpainting_gan import GanState

CONFIG = Config(
    data=DataConfig(image_size=32),
    network=NetworkConfig(width=2, dilations=(2,), discriminator_width=2, discriminator_depth=2),
    training=TrainingConfig(generator_learning_rate=1e-3, adversarial_weight=1e-3),
)
AEGAN, I3AD_METHOD = AeganModel(CONFIG), I3AD(CONFIG)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)), jnp.float32)
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def state() -> GanState:
    return jax.jit(I3AD_METHOD.init)(jax.random.key(0))


def test_the_two_can_swap_their_states(state: GanState) -> None:
    """I3AD's weights work in AEGAN, and I3AD told that all is hole but shown all, takes AEGAN's step."""
    ones = jnp.ones_like(IMAGES[..., :1])
    assert jax.tree.structure(state) == jax.tree.structure(jax.eval_shape(AEGAN.init, KEY))
    stepped, losses = jax.jit(AEGAN.step)(state, IMAGES, KEY)
    masked, masked_losses = jax.jit(
        lambda state: I3AD_METHOD.gan.step(state, IMAGES, shown=IMAGES, masks=ones, weights=ones)
    )(state)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), stepped, masked)
    assert losses["reconstruction_loss"] == pytest.approx(float(masked_losses["reconstruction_loss"]))


def test_the_reconstruction_depends_on_every_pixel_shown(state: GanState) -> None:
    # Fresh gates let hardly anything through.
    state = replace(state, generator=random_weights(state.generator, gain=2))
    image = IMAGES[0]
    _, fine = I3AD_METHOD.gan.inpaint(state.generator, image[None], jnp.ones((1, 32, 32, 1)))
    np.testing.assert_allclose(AEGAN.begin(state, image), fine[0], atol=1e-6)
    # I3AD, asked to fill everything, is shown nothing.
    blind = I3AD_METHOD.inpaint(state)(jnp.zeros_like(image), jnp.ones((32, 32, 1)))
    assert jnp.abs(blind - fine[0]).max() > 1e-3


def test_features_are_the_discriminators_output(state: GanState) -> None:
    features = AEGAN.features(state, IMAGES[0])
    assert features.shape == (8 * 8 * 4,)
    judged = AEGAN.gan.judge(state.discriminator, state.spectral, IMAGES[:1], jnp.ones((1, 32, 32, 1)))
    np.testing.assert_array_equal(features, judged.ravel())

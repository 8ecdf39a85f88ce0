"""The training step in PyTorch against ours."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from i3ad_jax.config import default_config
from i3ad_jax.inpainting.losses import discount_weights
from i3ad_jax.inpainting.masks import brush_masks
from i3ad_jax.methods.state import fresh_state
from tests.support.batches import without_defects
from tests.support.random_weights import LARGEST_GAIN, random_weights

torch = pytest.importorskip("torch", reason="pip install -e '.[test-all]'")
from benchmarks.torch_training import training_step  # noqa: E402  (it needs torch)

pytestmark = pytest.mark.slow

CONFIG = default_config("i3ad", preset="paper").with_settings(
    {
        "image_size": 32,
        "width": 2,
        "dilations": (2,),
        "discriminator_width": 4,
        "discriminator_depth": 3,
        "generator_learning_rate": 1e-2,
        "discriminator_learning_rate": 1e-2,
    }
)


def test_losses_of_three_steps() -> None:
    """Both go the same way. Their power iterations are a step apart, hence the tolerance."""
    method, key = CONFIG.build(), jax.random.key(0)
    state = fresh_state(key, method)
    weights = random_weights(jax.eval_shape(lambda: state.gan.generator), gain=LARGEST_GAIN)
    state = replace(state, gan=replace(state.gan, generator=weights))
    images = jax.random.uniform(key, (2, 32, 32, 3), minval=-1, maxval=1)
    masks = jax.jit(brush_masks)(key, images)
    given = (images, masks, discount_weights(masks, discount=CONFIG.training.discount))
    tensors = [torch.from_numpy(np.array(x)).permute(0, 3, 1, 2) for x in given]
    theirs = training_step(state.gan, CONFIG.training, compiled=False, device="cpu")
    ours = jax.jit(method.step)
    losses = []
    for _ in range(3):
        state, metrics = ours(state, without_defects(images), key)
        expected = theirs(*tensors)
        for name, value in expected.items():
            assert metrics[name] == pytest.approx(float(value), rel=0.02)
        losses.append(float(metrics["generator_loss"]))
    assert np.ptp(losses) > 0.1  # the steps did something

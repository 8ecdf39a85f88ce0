"""The generator: size, ranges, its response to images, reduced precision."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.config import default_config
from i3ad_jax.nn.inpainter import Inpainter
from i3ad_jax.nn.layers import ACTIVATION_GAIN
from i3ad_jax.nn.patchgan import PatchDiscriminator
from tests.support.layers import random_features
from tests.support.random_weights import LARGEST_GAIN, random_weights


def weight_shapes(inpainter: Inpainter) -> Any:
    return jax.eval_shape(
        inpainter.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 1))
    )


def test_number_of_parameters_is_the_papers() -> None:
    shapes = weight_shapes(Inpainter(width=24, dilations=(2, 4, 8, 16)))
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
    assert count == pytest.approx(4.06e6, rel=0.01)


def test_inpainter_gives_two_images_that_depend_on_the_known_pixels() -> None:
    inpainter = Inpainter(width=2, dilations=(2,))
    params = random_weights(weight_shapes(inpainter), gain=LARGEST_GAIN)
    masks = np.zeros((2, 32, 40, 1), np.float32)
    masks[:, 8:24, 8:24] = 1
    masked = np.tanh(random_features(2, 32, 40, 3)) * (1 - masks)
    apply = jax.jit(inpainter.apply)
    outputs: Any = apply(params, masked, masks)
    flipped = masked.copy()  # JAX may not have read the original yet
    flipped[0, 4:8, 8:24] *= -1
    changed: Any = apply(params, flipped, masks)
    for before, after in zip(outputs, changed, strict=True):
        assert before.shape == (2, 32, 40, 3)
        assert 0.1 < np.abs(before).max() <= 1
        assert np.abs(before - after)[0, 8:24, 8:24].max() > 1e-4
        np.testing.assert_allclose(before[1], after[1], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_image_reaches_the_output_of_a_fresh_generator() -> None:
    """Without the gain of the gated layers' activations nothing of it would be left."""
    settings: Any = default_config("i3ad").training
    inpainter = Inpainter(settings.width, settings.dilations)
    images = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)), jnp.float32)
    masks = jnp.zeros((3, 32, 32, 1))
    fresh = jax.jit(inpainter.init)(jax.random.key(0), images, masks)

    def as_lecun_normal(path: Any, x: Any) -> Any:
        names = [key.key for key in path]
        if names[-1] != "kernel" or {"rgb", "attention"} & {*names}:
            return x  # of no gated layer
        return x / np.repeat([ACTIVATION_GAIN, 1], x.shape[-1] // 2)

    def variation(variables: Any) -> float:
        outputs: Any = apply(variables, images, masks)
        return float(np.std(outputs[1], axis=0).mean())

    apply = jax.jit(inpainter.apply)
    assert variation(fresh) > 1e-3
    assert variation(jax.tree_util.tree_map_with_path(as_lecun_normal, fresh)) < 1e-5


@pytest.mark.slow
def test_bfloat16_keeps_weights_and_outputs_in_float32() -> None:
    inpainter = Inpainter(width=2, dilations=(2,), dtype=jnp.bfloat16)
    patchgan = PatchDiscriminator(width=3, depth=2, dtype=jnp.bfloat16)
    images, masks = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 1))

    def run() -> Any:
        inpainted = inpainter.init_with_output(jax.random.key(0), images, masks)
        logits = patchgan.init_with_output(jax.random.key(0), images, masks, update_stats=False)
        return inpainted, logits

    assert {x.dtype for x in jax.tree.leaves(jax.eval_shape(run))} == {jnp.dtype("float32")}

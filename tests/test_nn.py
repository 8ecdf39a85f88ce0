"""The networks: size, ranges, attention against NumPy, spectral norm against the SVD, reduced precision."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from random_weights import LARGEST_GAIN, random_weights

from i3ad_jax.config import default_config
from i3ad_jax.nn.inpainter import Inpainter
from i3ad_jax.nn.layers import (
    ACTIVATION_GAIN,
    DownsampleConv,
    GatedConv,
    SelfAttention,
    UpsampleConv,
    gate,
)
from i3ad_jax.nn.patchgan import PatchDiscriminator

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)
MASKS = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 16, 16, 1)) < 0.3, jnp.float32)


def random_features(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def weight_shapes(inpainter: Inpainter) -> Any:
    return jax.eval_shape(
        inpainter.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 1))
    )


def halve(x: Any, kernel: Any) -> Any:
    """What `DownsampleConv` computes, by XLA's convolution."""
    kernel = (
        kernel.reshape(2, 2, 2, 2, -1, kernel.shape[-1])
        .swapaxes(1, 2)
        .reshape(4, 4, -1, kernel.shape[-1])
    )
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=numbers)


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
    """But for the gain of the gated layers' activations, which is to keep it alive, nothing would be left."""
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


def attention_by_loop(x: np.ndarray, params: Any) -> np.ndarray:
    """Self-attention of one image `h w c`, one query at a time, in float64."""

    def project(name: str, y: np.ndarray) -> np.ndarray:
        return y @ params[name]["kernel"][0, 0] + params[name]["bias"]

    def pool(y: np.ndarray) -> np.ndarray:
        return np.maximum.reduce([y[i::2, j::2] for i in (0, 1) for j in (0, 1)])

    keys, values = (
        pool(project(name, x)).reshape(-1, width) for name, width in (("key", 2), ("value", 8))
    )
    output = x.copy()
    for position in np.ndindex(x.shape[:2]):
        weights = np.exp(keys @ project("query", x[position]))
        attended = np.sum(weights[:, None] * values, axis=0) / weights.sum()
        output[position] += params["scale"] * project("output", attended)
    return output


@pytest.mark.parametrize("scale", [0.0, 1.0, -0.3])
def test_self_attention(scale: float) -> None:
    x = random_features(2, 6, 8, 16)
    attention = SelfAttention()
    params = random_weights(jax.eval_shape(attention.init, jax.random.key(0), x))["params"]
    params["scale"] = np.float32(scale)
    expected = [attention_by_loop(image.astype(np.float64), params) for image in x]
    assert (np.abs(expected - x).max() > 0.1) == (scale != 0)
    actual: Any = attention.apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_self_attention_starts_as_the_identity() -> None:
    x = jnp.asarray(random_features(1, 4, 4, 8))
    assert jax.jit(lambda: SelfAttention().init(jax.random.key(0), x)["params"]["scale"])() == 0


def test_gated_conv_gates_pixel_by_pixel() -> None:
    x = jnp.asarray(random_features(1, 6, 6, 3))
    conv = GatedConv(4, kernel_size=1)
    params = random_weights(jax.eval_shape(conv.init, jax.random.key(0), x))
    weights = params["params"]["conv"]
    activation, gate = np.split(x @ weights["kernel"][0, 0] + weights["bias"], 2, axis=-1)
    expected = np.where(activation > 0, activation, np.expm1(activation)) / (1 + np.exp(-gate))
    actual: Any = conv.apply(params, x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_gate_has_the_gradient_of_its_definition() -> None:
    x, weights = jnp.asarray(random_features(2, 5, 5, 6)), jnp.asarray(random_features(2, 5, 5, 3))

    def defined(x: Any) -> Any:
        activation, gates = jnp.split(x, 2, axis=-1)
        return nn.elu(activation) * nn.sigmoid(gates)

    ours, expected = (
        jax.grad(lambda x, f=f: (weights * f(x)).sum())(3 * x) for f in (gate, defined)
    )
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


def discriminator(depth: int) -> tuple[PatchDiscriminator, Any]:
    """A discriminator with random weights, before any step of the power iteration."""
    patchgan = PatchDiscriminator(width=3, depth=depth)

    def init() -> Any:
        return patchgan.init(jax.random.key(0), IMAGES, MASKS, update_stats=False)

    return patchgan, random_weights(jax.eval_shape(init))


def largest_singular_value(kernel: np.ndarray) -> float:
    return float(np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0])


def test_spectral_norm_finds_the_largest_singular_values() -> None:
    patchgan, variables = discriminator(depth=3)

    def iterate(_: int, batch_stats: Any) -> Any:
        current = {"params": variables["params"], "batch_stats": batch_stats}
        _, after = patchgan.apply(
            current, IMAGES, MASKS, update_stats=True, mutable=["batch_stats"]
        )
        return after["batch_stats"]

    batch_stats = jax.jit(lambda stats: lax.fori_loop(0, 300, iterate, stats))(
        variables["batch_stats"]
    )
    for layer in range(3):
        kernel = variables["params"][f"conv_{layer}"]["kernel"]
        sigma = batch_stats[f"spectral_norm_{layer}"][f"conv_{layer}/kernel/sigma"]
        assert sigma == pytest.approx(largest_singular_value(kernel), rel=1e-3)


def test_layers_act_as_kernels_of_spectral_norm_one() -> None:
    patchgan, variables = discriminator(depth=1)
    weights = variables["params"]["conv_0"]
    matrix = weights["kernel"].reshape(-1, 3)
    leading = np.linalg.svd(matrix)[2][:1]  # what the power iteration converges to
    variables["batch_stats"]["spectral_norm_0"]["conv_0/kernel/u"] = leading
    kernel = weights["kernel"] / largest_singular_value(weights["kernel"])
    inputs = jnp.concatenate([IMAGES, MASKS], axis=-1)
    expected = lax.conv_general_dilated(
        inputs, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    logits: Any = patchgan.apply(variables, IMAGES, MASKS, update_stats=False)
    np.testing.assert_allclose(logits, expected + weights["bias"], rtol=0, atol=1e-5)


def test_power_iteration_advances_only_when_asked() -> None:
    patchgan, variables = discriminator(depth=2)
    before = variables["batch_stats"]
    for update_stats in (False, True):
        _, after = patchgan.apply(
            variables, IMAGES, MASKS, update_stats=update_stats, mutable=["batch_stats"]
        )
        changed = jax.tree.map(lambda x, y: not np.array_equal(x, y), before, after["batch_stats"])
        assert all(value == update_stats for value in jax.tree.leaves(changed))


def test_discriminator_has_a_logit_vector_per_patch() -> None:
    patchgan, variables = discriminator(depth=4)
    images, masks = jnp.tile(IMAGES, (1, 2, 1, 1)), jnp.tile(MASKS, (1, 2, 1, 1))
    logits = jax.eval_shape(lambda: patchgan.apply(variables, images, masks, update_stats=False))
    assert logits.shape == (2, 2, 1, 12)


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


@pytest.mark.parametrize("layer", [partial(GatedConv, 16), SelfAttention])
def test_bfloat16_layers_compute_in_bfloat16(layer: Callable[..., Any]) -> None:
    x = jnp.asarray(random_features(1, 8, 8, 16))
    variables = random_weights(jax.eval_shape(layer().init, jax.random.key(0), x))
    output = layer(dtype=jnp.bfloat16).apply(variables, x.astype(jnp.bfloat16))
    assert output.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        output.astype(np.float32), layer().apply(variables, x), rtol=0, atol=0.05
    )


def test_downsample_conv_is_a_strided_convolution() -> None:
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 10, 3)), jnp.float32)
    y, variables = DownsampleConv(5).init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, halve(x, variables["params"]["taps"]["kernel"]), atol=1e-5)


def test_upsample_conv_is_a_transposed_convolution() -> None:
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 5, 7)), jnp.float32)
    y, variables = UpsampleConv(4).init_with_output(jax.random.key(0), x)
    # Along an axis, the first pixel of a 2 x 2 window has the first two of the four taps and the second pixel
    # the others. Of each two, the first output pixel has the second.
    taps: Any = variables["params"]["taps"]["kernel"]
    taps = taps.reshape(2, 2, 7, 2, 2, 4)[:, :, :, ::-1, ::-1]
    kernel = taps.transpose(0, 3, 1, 4, 2, 5).reshape(4, 4, 7, 4)
    np.testing.assert_allclose(
        y, lax.conv_transpose(jnp.asarray(x), kernel, (2, 2), "SAME"), atol=1e-5
    )

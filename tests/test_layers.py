"""Layers of the networks against NumPy and XLA's convolution."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from i3ad_jax.nn.layers import DownsampleConv, GatedConv, SelfAttention, UpsampleConv
from tests.support.layers import halve, random_features
from tests.support.random_weights import random_weights


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
    # Along an axis, the first pixel of a 2 x 2 window has the first two of the four taps and the
    # second pixel the others. Of each two, the first output pixel has the second.
    taps: Any = variables["params"]["taps"]["kernel"]
    taps = taps.reshape(2, 2, 7, 2, 2, 4)[:, :, :, ::-1, ::-1]
    kernel = taps.transpose(0, 3, 1, 4, 2, 5).reshape(4, 4, 7, 4)
    np.testing.assert_allclose(
        y, lax.conv_transpose(jnp.asarray(x), kernel, (2, 2), "SAME"), atol=1e-5
    )

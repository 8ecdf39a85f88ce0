"""The convolution and its gradients against those of `lax.conv_general_dilated`."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from i3ad_jax.cpu import kernel_gradient
from i3ad_jax.cpu.convolution import convolve
from i3ad_jax.nn.convolution import Conv


def reference(x: Any, kernel: Any, *, strides: Any, padding: Any, dilation: Any) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=numbers
    )


@pytest.mark.parametrize(
    ("taps", "strides", "padding", "dilation"),
    [
        pytest.param(3, (1, 1), ((1, 1), (1, 1)), (1, 1), marks=pytest.mark.slow),
        pytest.param(2, (1, 1), ((1, 1), (1, 1)), (1, 1), marks=pytest.mark.slow),
        (5, (1, 1), ((2, 3), (0, 1)), (1, 1)),
        pytest.param(5, (2, 2), ((1, 2), (2, 1)), (1, 1), marks=pytest.mark.slow),
        pytest.param(3, (1, 1), ((4, 4), (4, 4)), (4, 4), marks=pytest.mark.slow),
        (3, (2, 1), ((0, 3), (2, 2)), (1, 2)),
    ],
)
@pytest.mark.parametrize(
    "stacked", [0, pytest.param(kernel_gradient.STACKED, marks=pytest.mark.slow)]
)
def test_gradients(
    taps: int,
    strides: Any,
    padding: Any,
    dilation: Any,
    stacked: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_gradient, "STACKED", stacked)
    rng = np.random.default_rng(0)
    x, kernel = (
        rng.normal(size=shape).astype(np.float32) for shape in ((2, 12, 16, 3), (taps, taps, 3, 4))
    )
    options = {"strides": strides, "padding": padding, "dilation": dilation}
    expected, reference_vjp = jax.vjp(partial(reference, **options), x, kernel)
    actual, vjp = jax.vjp(
        lambda x, kernel: convolve(x, kernel, strides, padding, dilation), x, kernel
    )
    cotangent = rng.normal(size=expected.shape).astype(np.float32)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    for gradient, expected_gradient in zip(vjp(cotangent), reference_vjp(cotangent), strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=0, atol=1e-4)


def test_space_to_depth_is_for_cpus() -> None:
    shapes = (
        jax.ShapeDtypeStruct((1, 12, 16, 3), "float32"),
        jax.ShapeDtypeStruct((3, 3, 3, 4), "float32"),
    )
    program = jax.jit(lambda x, kernel: convolve(x, kernel, (1, 1), ((1, 1), (1, 1)), (1, 1)))

    def multiplies_channels(platform: str) -> bool:
        lowered = program.trace(*shapes).lower(lowering_platforms=(platform,))
        return "2x2x12x16" in lowered.as_text()

    assert multiplies_channels("cpu")
    assert not multiplies_channels("cuda")


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"dilation": 2, "use_bias": False},
        *(pytest.param(x, marks=pytest.mark.slow) for x in ({}, {"dtype": "bfloat16"})),
    ],
)
def test_layer_equals_flaxs(options: dict[str, Any]) -> None:
    """The weights have the same names and shapes, too."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 10, 3)), jnp.float32)
    ours = Conv(4, (3, 3), **options)
    flax_names = {"stride": "strides", "dilation": "kernel_dilation"}
    flaxs = nn.Conv(
        4, (3, 3), **{flax_names.get(name, name): value for name, value in options.items()}
    )
    params = flaxs.init(jax.random.key(0), x)

    def loss(params: Any, conv: Any) -> Any:
        return (conv.apply(params, x).astype("float32") ** 2).sum()

    gradients = [jax.grad(loss)(params, conv) for conv in (ours, flaxs)]
    tolerance = 2e-2 if "dtype" in options else 1e-5
    outputs = (np.asarray(conv.apply(params, x), np.float32) for conv in (ours, flaxs))
    np.testing.assert_allclose(*outputs, rtol=0, atol=tolerance)
    scale = np.abs(gradients[1]["params"]["kernel"]).max()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale), *gradients
    )

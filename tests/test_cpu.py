"""Each workaround for CPUs against plain operations of `lax`, and the switch of all of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import lax
from scipy.ndimage import correlate1d

from benchmarks.networks import build
from i3ad_jax.config import default_config
from i3ad_jax.cpu import kernel_gradient, strided
from i3ad_jax.cpu.bias import add_bias
from i3ad_jax.cpu.convolution import convolve
from i3ad_jax.cpu.eigen import eigen_options
from i3ad_jax.cpu.gate import gate
from i3ad_jax.cpu.input_gradient import input_gradient
from i3ad_jax.cpu.local_mean import local_mean
from i3ad_jax.cpu.product import product
from i3ad_jax.cpu.space_to_depth import convolve_blocks
from i3ad_jax.cpu.strided import downsample, upsample
from i3ad_jax.cpu.switch import VARIABLE, default, workarounds, workarounds_wanted
from i3ad_jax.cpu.window import Window, xla_convolution
from i3ad_jax.methods.method import Batch, PlantedSquares
from i3ad_jax.nn.context_encoder import ContextEncoder
from i3ad_jax.nn.dcgan import Generator, ImageEncoder
from i3ad_jax.nn.inpainter import Inpainter
from i3ad_jax.runtime.compiler import compiler_options, jit
from tests.conftest import tiny_settings
from tests.support.layers import halve
from tests.support.random_weights import random_weights

SAME = ((1, 1), (1, 1))
PLAIN = Window((1, 1), SAME, (1, 1))
NUMBERS = ("NHWC", "HWIO", "NHWC")


def random(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def lax_convolution(x: Any, kernel: Any, window: Window = PLAIN) -> Any:
    strides, padding, dilation = window
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=NUMBERS
    )


def doubled(x: Any, taps: Any) -> Any:
    """Compute `upsample` by a convolution of the image with zeros between its pixels."""
    channels = x.shape[-1]
    kernel = jnp.zeros((4, 4, channels, taps.shape[-1] // 4))
    for row, column, p, q in np.ndindex(2, 2, 2, 2):
        tap = taps.reshape(2, 2, channels, 2, 2, -1)[row, column, :, p, q]
        kernel = kernel.at[2 * row + 1 - p, 2 * column + 1 - q].set(tap)
    spread = jnp.zeros((len(x), 2 * x.shape[1] - 1, 2 * x.shape[2] - 1, channels))
    padded = jnp.pad(spread.at[:, ::2, ::2].set(x), ((0, 0), (2, 2), (2, 2), (0, 0)))
    return lax_convolution(padded, kernel, Window((1, 1), ((0, 0), (0, 0)), (1, 1)))


def gated(x: Any) -> Any:
    activation, gates = jnp.split(x, 2, axis=-1)
    return nn.elu(activation) * nn.sigmoid(gates)


class Case(NamedTuple):
    """An operation with a workaround, the same by plain operations, and their arguments."""

    operation: Callable[..., Any]
    plain: Callable[..., Any]
    arguments: tuple[jax.Array, ...]


def case_convolution(channels: int) -> Case:
    def operation(x: Any, kernel: Any) -> Any:
        return convolve(x, kernel, (1, 1), SAME, (1, 1))

    return Case(operation, lax_convolution, (random(2, 6, 7, channels), random(3, 3, channels, 9)))


CASES = {
    "convolution": case_convolution(9),
    "convolution of few channels": case_convolution(3),
    "product": Case(product, lambda x, kernel: x @ kernel, (random(2, 3, 5), random(5, 4))),
    "bias": Case(add_bias, lambda x, bias: x + bias, (random(2, 3, 5, 4), random(4))),
    "gate": Case(gate, gated, (3 * random(2, 5, 5, 6),)),
    "downsampling": Case(downsample, halve, (random(2, 6, 10, 3), random(48, 5))),
    "upsampling": Case(upsample, doubled, (random(2, 3, 5, 7), random(28, 16))),
}


def value_and_gradients(function: Callable[..., Any], arguments: tuple[jax.Array, ...]) -> Any:
    """The value, and the gradients of a weighted sum of it."""

    @jax.jit
    def run(*arguments: Any) -> Any:
        value, vjp = jax.vjp(function, *arguments)
        return value, vjp(jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape))

    return run(*arguments)


def assert_close(found: Any, expected: Any, *, atol: float = 1e-5) -> None:
    """Compare pytrees, to rounding of the largest number of an array."""
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = max(1, float(np.abs(y).max())) if np.size(y) else 1
        np.testing.assert_allclose(x, y, rtol=0, atol=atol * scale)


def primitives(function: Callable[..., Any], arguments: tuple[jax.Array, ...]) -> str:
    """The program of a function and its gradients, as text."""

    def run(*arguments: Any) -> Any:
        value, vjp = jax.vjp(function, *arguments)
        return vjp(value)

    return str(jax.make_jaxpr(run)(*arguments))


@pytest.mark.parametrize("name", CASES)
def test_the_operation_is_the_plain_one_switched_on_and_off(name: str) -> None:
    operation, plain, arguments = CASES[name]
    expected = value_and_gradients(plain, arguments)
    assert_close(value_and_gradients(operation, arguments), expected)
    with workarounds(False):
        assert_close(value_and_gradients(operation, arguments), expected)


@pytest.mark.parametrize("name", CASES)
def test_switched_off_no_gradient_is_written_by_hand(name: str) -> None:
    operation, _, arguments = CASES[name]
    with workarounds(False):
        assert "custom_vjp" not in str(jax.make_jaxpr(operation)(*arguments))
        assert "platform_index" not in primitives(operation, arguments)
    assert "custom_vjp" in str(jax.make_jaxpr(operation)(*arguments))


@pytest.mark.parametrize("windows", [0, strided.WINDOWS])
def test_windows_that_caches_do_not_hold_are_convolved(
    windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strided, "WINDOWS", windows)
    for name in ("downsampling", "upsampling"):
        operation, plain, arguments = CASES[name]
        found = value_and_gradients(lambda *x, f=operation: f(*x), arguments)
        assert_close(found, value_and_gradients(plain, arguments))


WINDOWS_OF_KERNELS = {
    "same": PLAIN,
    "strides": Window((2, 2), ((1, 2), (2, 1)), (1, 1)),
    "dilation": Window((1, 1), ((3, 3), (4, 2)), (3, 3)),
    "of rows and columns": Window((2, 1), ((0, 3), (2, 2)), (1, 2)),
}


@pytest.mark.parametrize("name", WINDOWS_OF_KERNELS)
def test_gradients_of_a_convolution_are_autodiffs(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, x, kernel = WINDOWS_OF_KERNELS[name], random(2, 9, 11, 3), random(3, 3, 3, 4)
    value, vjp = jax.vjp(partial(lax_convolution, window=window), x, kernel)
    cotangent = random(*value.shape)
    by_input, by_kernel = vjp(cotangent)
    assert_close(xla_convolution(x, kernel, window), value)
    assert_close(input_gradient(cotangent, kernel, x.shape, window), by_input)
    for stacked in (0, kernel_gradient.STACKED):
        monkeypatch.setattr(kernel_gradient, "STACKED", stacked)
        found = kernel_gradient.kernel_gradient(x, cotangent, kernel.shape, window)
        assert_close(found, by_kernel)


@pytest.mark.parametrize("padding", [SAME, ((2, 3), (0, 1))])
@pytest.mark.parametrize("taps", [(3, 3), (5, 2), (2, 1)])
def test_space_to_depth_is_the_convolution(taps: tuple[int, int], padding: Any) -> None:
    x, kernel, window = random(2, 7, 8, 3), random(*taps, 3, 4), Window((1, 1), padding, (1, 1))
    found = value_and_gradients(
        lambda x, kernel: convolve_blocks(xla_convolution, x, kernel, padding), (x, kernel)
    )
    assert_close(found, value_and_gradients(partial(lax_convolution, window=window), (x, kernel)))


@pytest.mark.parametrize("on", [True, False])
def test_local_mean_mirrors_beyond_the_borders(on: bool) -> None:
    weights, x, cotangent = np.array([0.2, 0.5, 0.3]), random(7, 5, 2), random(7, 5, 2)[::-1]

    def by_scipy(x: Any) -> Any:
        rows = correlate1d(np.asarray(x, np.float64), weights, axis=0, mode="reflect")
        return correlate1d(rows, weights, axis=1, mode="reflect")

    with workarounds(on):
        value, vjp = jax.vjp(lambda x: local_mean(x, weights), x)
        (gradient,) = vjp(cotangent)
    assert_close(value, by_scipy(x), atol=1e-6)
    # The mean is linear: a number of its gradient is the cotangent's product with the mean of one
    # pixel.
    for pixel in ((0, 0, 0), (1, 4, 1), (6, 2, 0), (3, 3, 1)):
        one = np.zeros(x.shape)
        one[pixel] = 1
        assert_close(gradient[pixel], np.sum(by_scipy(one) * np.asarray(cotangent)), atol=1e-6)


def test_the_switch_is_for_cpus_and_can_be_turned_off() -> None:
    assert workarounds_wanted("cpu")
    assert not any(workarounds_wanted(platform) for platform in ("gpu", "cuda", "rocm", "tpu"))
    with workarounds(False):
        assert not workarounds_wanted("cpu")


def test_the_environment_turns_the_switch_off() -> None:
    assert [default(x) for x in ({}, {VARIABLE: "1"}, {VARIABLE: "0"})] == [True, True, False]


# What is in the program of a gradient that is written for CPUs, and not in XLA's own.
ONLY_ON_CPUS = {
    "convolution": "dot_general",
    "product": "optimization_barrier",
    "bias": "dot_general",
}


@pytest.mark.parametrize("name", ONLY_ON_CPUS)
def test_programs_for_gpus_have_xlas_own_gradients(name: str) -> None:
    """A program is written for the platform it is compiled for, not for the one in use."""
    operation, _, arguments = CASES[name]

    def lowered(platform: str) -> str:
        @jax.jit
        def gradients(*arguments: Any) -> Any:
            value, vjp = jax.vjp(operation, *arguments)
            return vjp(value)

        return gradients.trace(*arguments).lower(lowering_platforms=(platform,)).as_text()

    assert ONLY_ON_CPUS[name] in lowered("cpu")
    assert ONLY_ON_CPUS[name] not in lowered("cuda")


def test_the_compiler_option_is_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiler_options() == eigen_options()
    with workarounds(False):
        assert compiler_options() == {}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == {}


def test_a_program_is_compiled_for_each_position_of_the_switch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, asked = [eigen_options(), {}], []
    monkeypatch.setattr(jax, "jit", lambda f, compiler_options: asked.append(compiler_options) or f)
    program = jit()(lambda: 1)
    for _ in range(2):
        assert program() == 1
        with workarounds(False):
            assert program() == 1
    assert asked == expected


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "generator": (Inpainter(2, (2,)), (1, 32, 32, 3)),
    "context encoder": (ContextEncoder(4, 3), (1, 32, 32, 3)),
    "DCGAN's generator": (Generator(2, 32), (1, 3)),
    "DCGAN's discriminator": (ImageEncoder(2, 1), (1, 32, 32, 3)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_do_not_depend_on_the_switch(name: str) -> None:
    network, shape = NETWORKS[name]
    inputs = [jnp.zeros(shape)]
    if isinstance(network, Inpainter | ContextEncoder):
        inputs.append(jnp.zeros((*shape[:3], 1)))

    def shapes() -> Any:
        return jax.eval_shape(lambda: network.init(jax.random.key(0), *inputs))

    on = shapes()
    with workarounds(False):
        off = shapes()
    assert jax.tree.structure(on) == jax.tree.structure(off)
    assert jax.tree.leaves(on) == jax.tree.leaves(off)


def after_many_steps(x: Any) -> Any:
    """Adam's state with second moments of 1: its step is then in proportion to the gradient.

    With fresh ones it has one size in the direction of the gradient's sign: of what is 0 up to
    rounding, that is the direction of the rounding.
    """
    if not isinstance(x, optax.ScaleByAdamState):
        return x
    zeros, ones = (jax.tree.map(like, x.mu) for like in (jnp.zeros_like, jnp.ones_like))
    return optax.ScaleByAdamState(jnp.int32(1000), zeros, ones)


@pytest.mark.parametrize(
    "generator", ["context", pytest.param("two_stage", marks=pytest.mark.slow)]
)
def test_a_training_step_is_the_same_switched_on_and_off(generator: str) -> None:
    rates = ("generator_learning_rate", "discriminator_learning_rate", "segmenter_learning_rate")
    settings = {**tiny_settings("i3ad"), **dict.fromkeys(rates, 1.0)}
    method = build(default_config("i3ad").with_settings({**settings, "generator": generator}))
    state = jax.tree.map(
        after_many_steps,
        random_weights(jax.eval_shape(method.init, jax.random.key(0))),
        is_leaf=lambda x: isinstance(x, optax.ScaleByAdamState),
    )
    images = jnp.tanh(random(2, 32, 32, 3))
    masks = (random(2, 32, 32, 1) > 1).astype(jnp.float32)
    planted = PlantedSquares(images * (1 - 2 * masks), jnp.zeros_like(images), masks)
    batch = Batch(images, planted)
    step = jax.jit(lambda state: method.step(state, batch, jax.random.key(1)))
    on = step(state)
    with workarounds(False):
        off = step(state)
    assert_close(on, off, atol=1e-6)

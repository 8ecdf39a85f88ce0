"""Convolution with all workarounds that apply to it."""

from functools import partial
from typing import Any

import jax
from jaxtyping import Array, Float

from i3ad_jax.cpu import space_to_depth
from i3ad_jax.cpu.input_gradient import input_gradient
from i3ad_jax.cpu.kernel_gradient import kernel_gradient
from i3ad_jax.cpu.switch import by_platform, workarounds
from i3ad_jax.cpu.window import Kernel, Pairs, Window, xla_convolution


def convolve(
    x: Float[Array, "b h w i"],
    kernel: Kernel,
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
) -> Float[Array, "b h2 w2 o"]:
    """Convolve `x`, padded with zeros, with a kernel whose taps are `dilation` pixels apart.

    Strides and dilation must not both be more than 1.
    """
    window = Window(strides, padding, dilation)
    if not workarounds.value:
        return xla_convolution(x, kernel, window)
    plain = partial(_convolve, window=window)
    if not space_to_depth.is_faster(kernel, window):
        return plain(x, kernel)
    blocks = partial(space_to_depth.convolve_blocks, _convolve, padding=padding)
    return by_platform(x, kernel, workaround=blocks, plain=plain)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Any, kernel: Any, window: Window) -> Any:
    """XLA's convolution, with its own gradients on a CPU."""
    return xla_convolution(x, kernel, window)


def _forward(x: Any, kernel: Any, window: Window) -> tuple[Any, tuple[Any, Any]]:
    return xla_convolution(x, kernel, window), (x, kernel)


def _backward(window: Window, residuals: tuple[Any, Any], cotangent: Any) -> Any:
    x, kernel = residuals

    def xla_kernel_gradient(x: Any, cotangent: Any) -> Any:
        return jax.vjp(lambda kernel: xla_convolution(x, kernel, window), kernel)[1](cotangent)[0]

    def products(x: Any, cotangent: Any) -> Any:
        return kernel_gradient(x, cotangent, kernel.shape, window).astype(kernel.dtype)

    def xla_input_gradient(cotangent: Any, kernel: Any) -> Any:
        return jax.vjp(lambda x: xla_convolution(x, kernel, window), x)[1](cotangent)[0]

    def phases(cotangent: Any, kernel: Any) -> Any:
        return input_gradient(cotangent, kernel, x.shape, window)

    return (
        by_platform(cotangent, kernel, workaround=phases, plain=xla_input_gradient),
        by_platform(x, cotangent, workaround=products, plain=xla_kernel_gradient),
    )


_convolve.defvjp(_forward, _backward)

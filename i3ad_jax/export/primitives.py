"""Traced programs in fewer and plainer of JAX's primitives, for converters.

Converters know the forms that hand-written networks have. `vmap` and nested functions give others:
matrix products over any axes, windows over five axes, calls of calls. The results are the same.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Array

CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
"""Primitives that call a program, with the parameter that holds it."""


def simplified(program: ClosedJaxpr) -> ClosedJaxpr:
    """The same program in plainer primitives; those inside of its loops too."""

    def run(*arguments: Any) -> list[Any]:
        return _evaluate(program, arguments)

    return jax.make_jaxpr(run)(*program.in_avals)


def evaluate(
    program: ClosedJaxpr,
    arguments: Sequence[Any],
    apply: Callable[[Any, list[Any]], Sequence[Any]],
) -> list[Any]:
    """Return the results of a program, interpreted equation by equation.

    Args:
        program: traced.
        arguments: of the program, flat.
        apply: from an equation and its inputs to its outputs.
    """
    jaxpr = program.jaxpr
    values = dict(zip(jaxpr.constvars, program.consts, strict=True))
    values |= dict(zip(jaxpr.invars, arguments, strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        outputs = apply(equation, [read(variable) for variable in equation.invars])
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _evaluate(program: ClosedJaxpr, arguments: Sequence[Any]) -> list[Any]:
    """The results of a program, each of its equations by `_apply`."""

    def apply(equation: Any, inputs: list[Any]) -> Sequence[Any]:
        if any(isinstance(x, Tracer) for x in inputs):
            return _apply(equation, inputs)
        with jax.ensure_compile_time_eval():  # the same for every image: a constant
            return _apply(equation, inputs)

    return evaluate(program, arguments, apply)


def _apply(equation: Any, inputs: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        return _evaluate(params[CALLS[name]], inputs)
    # Gradients are written for each kind of device: of plain convolutions for CPUs.
    if name == "platform_index":
        index = next(i for i, own in enumerate(params["platforms"]) if own is None or "cpu" in own)
        return [jnp.int32(index)]
    if name == "cond" and not isinstance(inputs[0], Tracer):
        return _evaluate(params["branches"][int(inputs[0])], inputs[1:])
    if name in _FORMS:
        return [_FORMS[name](*inputs, **params)]
    inside = {
        key: simplified(value) if isinstance(value, ClosedJaxpr) else value
        for key, value in params.items()
    }
    outputs = equation.primitive.bind(*inputs, **inside)
    return outputs if equation.primitive.multiple_results else [outputs]


def _stack(*arrays: Array, axis: int) -> Array:
    return lax.concatenate([lax.expand_dims(x, (axis,)) for x in arrays], axis)


def _matrix_product(
    a: Array, b: Array, *, dimension_numbers: Any, precision: Any, **options: Any
) -> Array:
    """`dot_general` as a product of two matrices, or of a row of them."""
    (summed_a, summed_b), (batch_a, batch_b) = dimension_numbers
    free_a = [axis for axis in range(a.ndim) if axis not in (*summed_a, *batch_a)]
    free_b = [axis for axis in range(b.ndim) if axis not in (*summed_b, *batch_b)]
    batch, rows, columns = (
        [x.shape[axis] for axis in axes] for x, axes in ((a, batch_a), (a, free_a), (b, free_b))
    )
    summed = math.prod(a.shape[axis] for axis in summed_a)
    row = [math.prod(batch)] if batch else []
    a = lax.transpose(a, (*batch_a, *free_a, *summed_a)).reshape(*row, math.prod(rows), summed)
    b = lax.transpose(b, (*batch_b, *summed_b, *free_b)).reshape(*row, summed, math.prod(columns))
    numbers = (((2,), (1,)), ((0,), (0,))) if batch else (((1,), (0,)), ((), ()))
    kind = options["preferred_element_type"]
    found = lax.dot_general(a, b, numbers, precision=precision, preferred_element_type=kind)
    return found.reshape(*batch, *rows, *columns)


def _convolution(x: Array, kernel: Array, *, dimension_numbers: Any, **options: Any) -> Array:
    """A convolution with channels last, of a kernel with its outputs last."""
    (row, channel, *sides), (outputs, inputs, *taps), out = dimension_numbers
    x = lax.transpose(x, (row, *sides, channel))
    kernel = lax.transpose(kernel, (*taps, inputs, outputs))
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
    y = lax.conv_general_dilated_p.bind(x, kernel, dimension_numbers=numbers, **options)
    return lax.transpose(y, np.argsort((out[0], *out[2:], out[1])))


def _window_max(
    x: Array, *, window_dimensions: Any, window_strides: Any, padding: Any, **_: Any
) -> Array:
    """Return the maximum over adjacent windows that fill the array."""
    whole = not any(side % window for side, window in zip(x.shape, window_dimensions, strict=True))
    if window_dimensions != window_strides or any(map(any, padding)) or not whole:
        raise NotImplementedError("windows that overlap or are padded")
    blocks = [
        n
        for side, window in zip(x.shape, window_dimensions, strict=True)
        for n in (side // window, window)
    ]
    return jnp.max(x.reshape(blocks), axis=tuple(range(1, len(blocks), 2)))


_FORMS: dict[str, Callable[..., Array]] = {
    "stack": _stack,
    "conv_general_dilated": _convolution,
    "dot_general": _matrix_product,
    "reduce_window_max": _window_max,
}

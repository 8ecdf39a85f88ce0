"""Programs as a GPU computes them by default: products and convolutions in TF32.

TF32 is a float32 with 10 explicit bits of mantissa, of which Ampere and later make the operands of
float32 products that ask for no precision. Sums stay float32. A CPU has no TF32, so a traced
program gets the rounding of the operands as operations of its own.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr

from i3ad_jax.export.primitives import CALLS, evaluate

MANTISSA = 10
_PRODUCTS = ("dot_general", "conv_general_dilated")


class Product(NamedTuple):
    """Product or convolution of a program.

    Attributes:
        name: of the primitive.
        precision: the one asked for; None for the default of the device.
        shapes: of both operands.
    """

    name: str
    precision: Any
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


def to_nearest(x: Any) -> Any:
    """Return float32 values rounded to TF32, ties to even."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=MANTISSA)


def truncated(x: Any) -> Any:
    """Return float32 values cut off to TF32: at most twice as far off as `to_nearest`."""
    kept = jnp.uint32(0xFFFFFFFF << (23 - MANTISSA) & 0xFFFFFFFF)
    bits = lax.bitcast_convert_type(x, jnp.uint32) & kept
    return lax.bitcast_convert_type(bits, jnp.float32)


def rounded(
    function: Callable[..., Any], rounding: Callable[[Any], Any] = to_nearest
) -> Callable[..., Any]:
    """Return the function with TF32's operands where no precision is asked for, compiled."""

    @jax.jit
    def call(*arguments: Any) -> Any:
        program, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        results = _evaluate(program, jax.tree.leaves(arguments), rounding)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return call


def products(program: ClosedJaxpr | Jaxpr) -> Iterator[Product]:
    """Yield the products and convolutions of a program as a GPU would have it."""
    for equation in getattr(program, "jaxpr", program).eqns:
        if equation.primitive.name in _PRODUCTS:
            avals: list[Any] = [variable.aval for variable in equation.invars]
            yield Product(
                equation.primitive.name,
                equation.params["precision"] if _is_exact(equation) else None,
                (avals[0].shape, avals[1].shape),
            )
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, ClosedJaxpr | Jaxpr):
                    yield from products(inner)


def _is_exact(equation: Any) -> bool:
    precision = equation.params["precision"]
    given = precision if isinstance(precision, tuple) else (precision,)
    return any(each not in (None, lax.Precision.DEFAULT) for each in given)


def _evaluate(
    program: ClosedJaxpr, arguments: Sequence[Any], rounding: Callable[[Any], Any]
) -> list[Any]:
    """Return the results of a program, each of its equations by `_apply`."""
    return evaluate(program, arguments, partial(_apply, rounding=rounding))


def _apply(equation: Any, inputs: list[Any], rounding: Callable[[Any], Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        return _evaluate(params[CALLS[name]], inputs, rounding)
    if name == "platform_index":  # the branch of every other device than a CPU
        return [np.int32(params["platforms"].index(None))]
    if name == "cond" and not isinstance(inputs[0], Tracer):
        return _evaluate(params["branches"][int(inputs[0])], inputs[1:], rounding)
    if name in _PRODUCTS and not _is_exact(equation):
        inputs = [rounding(x) if x.dtype == jnp.float32 else x for x in inputs]

    def inside(value: Any) -> Any:
        if isinstance(value, ClosedJaxpr):  # from JAX 0.11 on every program is
            return jax.make_jaxpr(lambda *x: _evaluate(value, x, rounding))(*value.in_avals)
        if isinstance(value, Jaxpr):
            raise NotImplementedError(f"{name} with an open program")
        return tuple(map(inside, value)) if type(value) is tuple else value

    changed = {key: inside(value) for key, value in params.items()}
    outputs = equation.primitive.bind(*inputs, **changed)
    return outputs if equation.primitive.multiple_results else [outputs]

"""Rounding of the operands of products to TF32, against NumPy's on the bits of a float32."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.support.rounded import MANTISSA, products, rounded, to_nearest, truncated

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 5)).astype(np.float32)
IMAGES = RNG.normal(size=(2, 6, 6, 3)).astype(np.float32)
KERNEL = RNG.normal(size=(3, 3, 3, 4)).astype(np.float32)
DROPPED = 23 - MANTISSA


def nearest_by_bits(x: np.ndarray) -> np.ndarray:
    """Add just less than half of the last kept bit, and more if that one is odd; cut off."""
    bits = x.view(np.uint32)
    odd = bits >> DROPPED & 1
    return ((bits + (1 << DROPPED - 1) - 1 + odd) >> DROPPED << DROPPED).view(np.float32)


def convolve(images: Any, kernel: Any, precision: lax.Precision | None = None) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=numbers, precision=precision
    )


@jax.custom_vjp
def by_custom_rule(x: Any) -> Any:
    return x @ x


by_custom_rule.defvjp(lambda x: (x @ x, x), lambda x, cotangent: (cotangent @ x,))


def test_rounding_is_that_of_the_bits() -> None:
    ties = np.float32(1) + np.arange(9, dtype=np.float32) * np.float32(2.0**-11)
    values = np.concatenate([ties, -ties, RNG.normal(size=1000) * 10.0 ** RNG.integers(-30, 30)])
    values = values.astype(np.float32)
    np.testing.assert_array_equal(to_nearest(values), nearest_by_bits(values))
    cut = (values.view(np.uint32) >> DROPPED << DROPPED).view(np.float32)
    np.testing.assert_array_equal(truncated(values), cut)
    assert np.abs(to_nearest(values) / values - 1).max() <= 2.0 ** -(MANTISSA + 1)


# Each against the same function with all its operands rounded by hand.
R = nearest_by_bits(X)
CASES: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...], Any]] = {
    "product": (lambda x: x @ x, (X,), R @ R),
    "convolution": (
        convolve,
        (IMAGES, KERNEL),
        convolve(nearest_by_bits(IMAGES), nearest_by_bits(KERNEL)),
    ),
    "in a loop": (
        lambda x: lax.fori_loop(0, 2, lambda _, y: y @ x, x),
        (X,),
        nearest_by_bits(R @ R) @ R,
    ),
    "in a loop of unknown length": (
        lambda x: lax.while_loop(lambda y: y[0] < 1, lambda y: (y[0] + 1, y[1] @ x), (0, x))[1],
        (X,),
        R @ R,
    ),
    "in a branch": (lambda x: lax.cond(x[0, 0] > 9, lambda y: y, lambda y: y @ y, x), (X,), R @ R),
    "in a call": (lambda x: jax.jit(lambda y: y @ y)(x), (X,), R @ R),
    "by a custom rule": (by_custom_rule, (X,), R @ R),
    "its gradient": (
        lambda x: jax.grad(lambda y: by_custom_rule(y).sum())(x),
        (X,),
        np.ones_like(R) @ R,
    ),
    "of a GPU": (
        lambda x: lax.platform_dependent(x, cpu=lambda y: y, default=lambda y: y @ y),
        (X,),
        R @ R,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operands_are_rounded(name: str) -> None:
    function, arguments, expected = CASES[name]
    np.testing.assert_allclose(rounded(function)(*arguments), expected, rtol=2e-6, atol=2e-6)
    assert np.abs(function(*arguments) - expected).max() > 1e-4  # the rounding can be seen


def test_products_of_a_precision_stay_as_they_are() -> None:
    exact = lax.Precision.HIGHEST

    def function(x: Any, images: Any, kernel: Any) -> tuple[Any, Any]:
        return jnp.matmul(x, x, precision=exact), convolve(images, kernel, exact)

    arguments = X, IMAGES, KERNEL
    for found, expected in zip(rounded(function)(*arguments), function(*arguments), strict=True):
        np.testing.assert_array_equal(found, expected)
    program = jax.make_jaxpr(lambda x: lax.fori_loop(0, 2, lambda _, y: y @ y, function(x, *IK)[0]))
    assert [product.precision is None for product in products(program(X))] == [False, False, True]


IK = IMAGES, KERNEL

"""Programs in plainer primitives give what they gave before."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from i3ad_jax.export.primitives import simplified

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 8, 6, 4)).astype(np.float32)


def by_custom_rule(x: Any) -> Any:
    return jax.nn.relu(x) + jax.jit(lambda y: y * 2)(x)


def convolution(x: Any) -> Any:
    kernel = jnp.asarray(RNG.normal(size=(3, 3, 4, 5)), jnp.float32)
    numbers = ("NHWC", "HWIO", "NCHW")
    return lax.conv_general_dilated(x, kernel, (2, 1), "SAME", dimension_numbers=numbers)


def in_a_loop(x: Any) -> Any:
    return lax.fori_loop(0, 3, lambda i, y: jnp.stack([y, y * i], axis=2).mean(axis=2), x)


def by_platform(x: Any) -> Any:
    return lax.platform_dependent(x, cpu=lambda y: y + 1, default=lambda y: 1 + y)


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "stack": lambda x: jnp.stack([x, 2 * x], axis=-2),
    "product over the last axes": lambda x: jnp.einsum("bhwc,dwc->dbh", x, x[:, 0]),
    "product of each image": lambda x: jnp.einsum("bhwc,bvc->bvhw", x, x[:, 0]),
    "product with a matrix": jax.vmap(
        lambda image: jnp.einsum("kw,iwc->ikc", X[0, :, :, 0], image)
    ),
    "pooling": jax.vmap(lambda image: nn.max_pool(image[None], (2, 2), strides=(2, 2))[0]),
    "gradient of a convolution": jax.grad(lambda x: jnp.sum(convolution(x) ** 2)),
    "calls": by_custom_rule,
    "a loop": in_a_loop,
    "platforms": by_platform,
    "random constants": lambda x: x * jax.random.normal(jax.random.key(0), x.shape[1:]),
}


def names(program: ClosedJaxpr) -> set[str]:
    """Names of all primitives, those inside of loops too."""
    found = set()
    for equation in program.jaxpr.eqns:
        inside = [value for value in equation.params.values() if isinstance(value, ClosedJaxpr)]
        found |= {equation.primitive.name, *(name for each in inside for name in names(each))}
    return found


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_plainer_program_gives_the_same(kind: str) -> None:
    program = jax.make_jaxpr(PROGRAMS[kind])(X)
    plain = simplified(program)
    for found, expected in zip(jaxpr_as_fun(plain)(X), jaxpr_as_fun(program)(X), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert not names(plain) & {
        "stack",
        "jit",
        "custom_jvp_call",
        "reduce_window_max",
        "platform_index",
    }
    assert not any(name.startswith("random") for name in names(plain))


def test_products_are_of_matrices_or_of_rows_of_them() -> None:
    for kind in (kind for kind in PROGRAMS if kind.startswith("product")):
        for equation in simplified(jax.make_jaxpr(PROGRAMS[kind])(X)).jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                left, right = (x.aval.shape for x in equation.invars)
                assert len(left) == len(right) in (2, 3)
                assert left[-1] == right[-2]


def test_windows_that_overlap_are_not_taken_for_others() -> None:
    program = jax.make_jaxpr(lambda x: nn.max_pool(x, (2, 2), strides=(1, 1)))(X)
    with pytest.raises(NotImplementedError, match="overlap"):
        simplified(program)

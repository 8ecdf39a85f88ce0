"""Matrix products and their gradients against Flax's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from i3ad_jax.nn.dense import Dense


def random(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def values_and_gradients(module: nn.Module, params: Any, x: jax.Array, weights: jax.Array) -> Any:
    """The output, and the gradients of a weighted sum of it by weights and input."""

    def loss(params: Any, x: jax.Array) -> Any:
        output: Any = module.apply(params, x)
        return (weights * output).sum(), output

    gradients, output = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)
    return output, gradients


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4, 5)])
def test_dense_equals_flaxs(shape: tuple[int, ...], use_bias: bool) -> None:
    x, weights = random(*shape), random(*shape[:-1], 7)
    ours, flaxs = (dense(7, use_bias=use_bias) for dense in (Dense, nn.Dense))
    params = flaxs.init(jax.random.key(0), x)
    found, expected = (values_and_gradients(module, params, x, weights) for module in (ours, flaxs))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), found, expected)

"""The gradient of a bias as a product with ones.

XLA's CPU back end sums over leading axes slowly: 0.2 to 0.4 ms instead of 0.04 to 0.07 for a
layer's bias (benchmarks/README.md).

Upstream: jax-ml/jax#25187, sums along the first axis on a CPU (open).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from i3ad_jax.cpu.product import flat
from i3ad_jax.cpu.switch import by_platform, workarounds


def add_bias(x: Float[Array, "*n c"], bias: Float[Array, " c"]) -> Float[Array, "*n c"]:
    """Return x + bias."""
    return _add_bias(x, bias) if workarounds.value else x + bias


@jax.custom_vjp
def _add_bias(x: Any, bias: Any) -> Any:
    return x + bias


def _backward(_: None, cotangent: Any) -> tuple[Any, Any]:
    def by_product(pixels: Any) -> Any:
        return jnp.ones(len(pixels), pixels.dtype) @ pixels

    by_bias = by_platform(flat(cotangent), workaround=by_product, plain=partial(jnp.sum, axis=0))
    return cotangent, by_bias


_add_bias.defvjp(lambda x, bias: (x + bias, None), _backward)

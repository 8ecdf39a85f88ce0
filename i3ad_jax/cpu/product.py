"""Matrix products whose input's gradient multiplies by a transposed copy of the kernel.

XLA's CPU back end takes up to five times as long over a product with the kernel itself, read as
transposed (128 x 4,096 x 512: 6.3 and 1.7 ms; benchmarks/README.md). The copy takes 0.3 ms, and in
a loop that leaves the kernel unchanged it is made once.

Upstream: no issue known.
"""

from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Float

from i3ad_jax.cpu.switch import by_platform, workarounds


def product(x: Float[Array, "*n i"], kernel: Float[Array, "i o"]) -> Float[Array, "*n o"]:
    """Return x @ kernel."""
    return _product(x, kernel) if workarounds.value else x @ kernel


@jax.custom_vjp
def _product(x: Any, kernel: Any) -> Any:
    return x @ kernel


def _backward(residuals: tuple[Any, Any], cotangent: Any) -> tuple[Any, Any]:
    x, kernel = residuals

    def by_copy(cotangent: Any, kernel: Any) -> Any:
        return cotangent @ lax.optimization_barrier(kernel.T)

    def as_it_is(cotangent: Any, kernel: Any) -> Any:
        return cotangent @ kernel.T

    by_input = by_platform(cotangent, kernel, workaround=by_copy, plain=as_it_is)
    return by_input, flat(x).T @ flat(cotangent)


_product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _backward)


def flat(x: Any) -> Any:
    """Return all rows along the last axis: `n c`."""
    return x.reshape(-1, x.shape[-1])

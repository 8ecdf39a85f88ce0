"""The gate of gated convolutions with fewer and cheaper exponentials.

On a CPU `nn.elu` is several times slower on few channels: it takes an expm1 and selects between
branches. Its higher accuracy near 0, about 1e-7, does not matter here. The gradient is computed
from the values of elu and sigmoid, where JAX's would take exponentials of its own; with the
gradient of biases (`bias`) this is 5 % of a training step (benchmarks/README.md).

Used on every back end; nothing was measured on a GPU.

Upstream: no issue known.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from i3ad_jax.cpu.switch import workarounds


def gate(x: Float[Array, "b h w _"]) -> Float[Array, "b h w _"]:
    """Return elu(a) * sigmoid(g), a and g the halves of the channels (Yu et al. 2019, eq. 3)."""
    if workarounds.value:
        return _gate(x)
    activation, gates = jnp.split(x, 2, axis=-1)
    return jax.nn.elu(activation) * jax.nn.sigmoid(gates)


@jax.custom_vjp
def _gate(x: Any) -> Any:
    return _forward(x)[0]


def _forward(x: Any) -> tuple[Any, tuple[Any, Any]]:
    activation, gates = jnp.split(x, 2, axis=-1)
    elu = jnp.maximum(activation, 0) + jnp.exp(jnp.minimum(activation, 0)) - 1
    sigmoid = jax.nn.sigmoid(gates)
    return elu * sigmoid, (elu, sigmoid)


def _backward(residuals: tuple[Any, Any], cotangent: Any) -> tuple[Any]:
    elu, sigmoid = residuals
    by_elu = cotangent * sigmoid
    return (
        jnp.concatenate([by_elu * jnp.minimum(elu + 1, 1), by_elu * elu * (1 - sigmoid)], axis=-1),
    )


_gate.defvjp(_forward, _backward)

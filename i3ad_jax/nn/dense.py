"""The dense layer, and the bias of every layer."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from i3ad_jax.cpu.bias import add_bias
from i3ad_jax.cpu.product import product


class Dense(nn.Module):
    """Matrix product over the last axis, and a bias: `nn.Dense` with the workarounds of `cpu`.

    The weights are those of `nn.Dense`.

    Attributes:
        features: length of the output's last axis.
        use_bias: whether a bias is added.
        dtype: type the layer computes in.
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*n i"]) -> Float[Array, "*n o"]:
        """Return the product of `x` and the kernel, plus the bias if there is one."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        y = product(jnp.asarray(x, self.dtype), jnp.asarray(kernel, self.dtype))
        return with_bias(self, y) if self.use_bias else y


def with_bias(
    layer: nn.Module, x: Float[Array, "*n c"], *, groups: int = 1
) -> Float[Array, "*n c"]:
    """The sum of x and the parameter `bias` of a layer, the same for each group of channels."""
    shape = (x.shape[-1] // groups,)
    bias = layer.param("bias", nn.initializers.zeros, shape, jnp.float32)
    return add_bias(x, jnp.tile(jnp.asarray(bias, x.dtype), groups))

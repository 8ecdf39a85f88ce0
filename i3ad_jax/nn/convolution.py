"""The convolution layer."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from i3ad_jax.cpu.convolution import convolve
from i3ad_jax.nn.dense import with_bias


class Conv(nn.Module):
    """Convolution with zero padding and a bias: `nn.Conv` with the workarounds of `cpu`.

    Attributes:
        features: channels of the output.
        kernel_size: rows and columns of the kernel.
        stride: pixels from one output to the next; the output is the image's size over it, rounded
            up.
        dilation: pixels from one tap of the kernel to the next.
        use_bias: whether a bias is added.
        kernel_init: initialiser of the kernel.
        dtype: type the layer computes in.
    """

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Return the convolution of `x`."""
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        extent = [(taps - 1) * self.dilation + 1 for taps in self.kernel_size]
        strides, dilation = (self.stride, self.stride), (self.dilation, self.dilation)
        padding = tuple(lax.padtype_to_pads(x.shape[1:3], extent, strides, "SAME"))
        inputs, kernel = (jnp.asarray(array, self.dtype) for array in (x, kernel))
        y = convolve(inputs, kernel, strides, padding, dilation)
        return with_bias(self, y) if self.use_bias else y

"""Layers that the networks share.

`dtype` is the type a layer computes in; its weights are always float32.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from i3ad_jax.cpu.convolution import convolve
from i3ad_jax.cpu.gate import gate
from i3ad_jax.cpu.strided import downsample, upsample
from i3ad_jax.nn.convolution import Conv
from i3ad_jax.nn.dense import with_bias
from i3ad_jax.runtime.precision import EXACT
from i3ad_jax.shapes import PRNGKey

# of a gated layer's activation over its gate: keeps the signal's variance, about
ACTIVATION_GAIN = 2.3

Features = Float[Array, "b _ _ _"]  # height, width and channels, of which each layer makes others


def num_downsamplings(size: int, smallest: int) -> int:
    """Return how often a side of `size` pixels is halved, exactly, until at most `smallest`."""
    count = 0
    while size % 2 == 0 and size > smallest:
        size, count = size // 2, count + 1
    return count


def gated_kernel_init(key: PRNGKey, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """LeCun-normal kernels whose activation half is `ACTIVATION_GAIN` times larger.

    A gate lets half of its input pass, and ELU flattens the negative half of that. With both halves
    alike each layer halves the signal, and after the generator's two dozen layers nothing of the
    image is left.
    """
    kernel = nn.initializers.lecun_normal()(key, shape, dtype)
    gains = jnp.where(jnp.arange(shape[-1]) < shape[-1] // 2, ACTIVATION_GAIN, 1.0)
    return kernel * gains.astype(dtype)


class GatedConv(nn.Module):
    """A gated convolution: `gate` applied to a convolution with 2 `features` output channels."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the `features` gated channels."""
        conv = Conv(
            2 * self.features,
            (self.kernel_size, self.kernel_size),
            stride=self.stride,
            dilation=self.dilation,
            kernel_init=gated_kernel_init,
            dtype=self.dtype,
            name="conv",
        )
        return gate(conv(x))


# Along one axis, the 3 taps of an output pixel fall on 2 input pixels: [0] for even, [1] for odd
# outputs.
_TAPS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)


class GatedUpsample(nn.Module):
    """Nearest-neighbour upsampling by 2, then a gated 3 x 3 convolution.

    Computed as one 2 x 2 convolution per sub-pixel phase of the output, before the upsampling (cf.
    Shi et al. 2016): taps on copies of the same pixel are summed. This takes 4/9 of the
    multiplications and never stores the upsampled input.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the gated channels at twice the height and width."""
        batch, height, width, channels = x.shape
        shape = (3, 3, channels, 2 * self.features)
        kernel = self.param("kernel", gated_kernel_init, shape, jnp.float32).astype(self.dtype)
        kernels = jnp.einsum("pax,qby,xyio->abipqo", _TAPS, _TAPS, kernel, precision=EXACT)
        # One convolution gives all four phases, as groups of output channels.
        kernels = kernels.reshape(2, 2, channels, -1).astype(self.dtype)
        phases: Any = convolve(x.astype(self.dtype), kernels, (1, 1), ((1, 1), (1, 1)), (1, 1))
        # Before the phases are axes of their own: a GPU adds it within the convolution.
        phases = with_bias(self, phases, groups=4)
        phases = phases.reshape(batch, height + 1, width + 1, 2, 2, -1)

        def phase(p: int, q: int) -> Float[Array, "b h w c"]:
            return gate(phases[:, p : p + height, q : q + width, p, q])

        rows = [jnp.stack([phase(p, 0), phase(p, 1)], axis=3) for p in (0, 1)]
        return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)


class UpsampleConv(nn.Module):
    """A 4 x 4 transposed convolution of stride 2: doubles height and width."""

    features: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the features at twice the height and width."""
        shape = (4 * x.shape[-1], 4 * self.features)
        x = Taps(shape, upsample, use_bias=False, dtype=self.dtype, name="taps")(x)
        return with_bias(self, x) if self.use_bias else x


class DownsampleConv(nn.Module):
    """A 4 x 4 convolution of stride 2: halves height and width, both of them even."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the features at half the height and width."""
        shape = (16 * x.shape[-1], self.features)
        return Taps(shape, downsample, dtype=self.dtype, name="taps")(x)


class SelfAttention(nn.Module):
    """Self-attention over all positions, with a residual connection (Zhang et al. 2018, section 3).

    Queries and keys have 1/8 of the channels and values 1/2; keys and values are max-pooled by 2.
    The output is added to the input with a learned scale that starts at 0. Height and width must be
    even.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return `x` plus the scaled attention output."""
        batch, height, width, channels = x.shape

        def project(features: int, name: str) -> Conv:
            return Conv(features, (1, 1), dtype=self.dtype, name=name)

        def pool(y: Features) -> Features:
            return nn.max_pool(y, (2, 2), strides=(2, 2))

        narrow, wide = max(channels // 8, 1), max(channels // 2, 1)
        query = project(narrow, "query")(x).reshape(batch, -1, narrow)
        key = pool(project(narrow, "key")(x)).reshape(batch, -1, narrow)
        value = pool(project(wide, "value")(x)).reshape(batch, -1, wide)
        # The softmax sums over about a thousand positions, so it is float32 whatever `dtype` is.
        # The logits are not: they would add 1 GiB to the 22 that 64 images move in a pass on a GPU.
        logits = jnp.einsum("bqc,bkc->bqk", query, key).astype(jnp.float32)
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        attended = jnp.einsum("bqk,bkc->bqc", weights, value).reshape(batch, height, width, wide)
        scale = self.param("scale", nn.initializers.zeros, ())
        return x + scale.astype(self.dtype) * project(channels, "output")(attended)


class Taps(nn.Module):
    """The kernel of a 4 x 4 convolution in the shape of `cpu.strided`, and a bias.

    Attributes:
        shape: of the kernel.
        convolve: from images and the kernel to the output.
        use_bias: whether a bias is added.
        dtype: type the layer computes in.
    """

    shape: tuple[int, int]
    convolve: Callable[[Any, Any], Any]
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the convolution of `x`."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), self.shape, jnp.float32)
        y = self.convolve(jnp.asarray(x, self.dtype), jnp.asarray(kernel, self.dtype))
        return with_bias(self, y) if self.use_bias else y

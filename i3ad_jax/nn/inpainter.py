"""The coarse-to-fine inpainting generator (paper, section 2.2; Yu et al. 2019, figure 3)."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from i3ad_jax.nn.convolution import Conv
from i3ad_jax.nn.layers import Features, GatedConv, GatedUpsample, SelfAttention
from i3ad_jax.shapes import Images, Masks

SIZE_MULTIPLE = 8  # two strides of 2, then attention pools by 2
MIN_SIZE = 32


class Encoder(nn.Module):
    """Gated convolutions down to a quarter of the height and width, 4 `width` channels.

    `strided` gives the channels of the two stride-2 layers, in units of `width`.
    """

    width: int
    strided: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the features at a quarter of the height and width."""
        c, (half, quarter), dtype = self.width, self.strided, self.dtype
        x = GatedConv(c, kernel_size=5, dtype=dtype, name="full")(x)
        x = GatedConv(half * c, stride=2, dtype=dtype, name="half_1")(x)
        x = GatedConv(2 * c, dtype=dtype, name="half_2")(x)
        x = GatedConv(quarter * c, stride=2, dtype=dtype, name="quarter_1")(x)
        x = GatedConv(4 * c, dtype=dtype, name="quarter_2")(x)
        return GatedConv(4 * c, dtype=dtype, name="quarter_3")(x)


class DilatedConvs(nn.Module):
    """Gated convolutions of growing dilation: a large receptive field at constant resolution."""

    features: int
    dilations: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the features after the convolutions of all dilations."""
        for dilation in self.dilations:
            x = GatedConv(
                self.features, dilation=dilation, dtype=self.dtype, name=f"by_{dilation}"
            )(x)
        return x


class Decoder(nn.Module):
    """Gated convolutions and two upsamplings, from a quarter of the size to RGB in [-1, 1]."""

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Images:
        """Return the images of features at a quarter of their height and width."""
        c, dtype = self.width, self.dtype
        x = GatedConv(4 * c, dtype=dtype, name="quarter_1")(x)
        x = GatedConv(4 * c, dtype=dtype, name="quarter_2")(x)
        x = GatedUpsample(2 * c, dtype=dtype, name="half_1")(x)
        x = GatedConv(2 * c, dtype=dtype, name="half_2")(x)
        x = GatedUpsample(c, dtype=dtype, name="full_1")(x)
        x = GatedConv(max(c // 2, 1), dtype=dtype, name="full_2")(x)
        x = Conv(3, (3, 3), dtype=dtype, name="rgb")(x)
        return jnp.tanh(x.astype(jnp.float32))


class Inpainter(nn.Module):
    """Inpaints the holes of images in two stages, coarse and fine.

    4.06 M parameters at width 24 with dilations 2, 4, 8, 16.

    Deviation: in the paper, as in Yu et al.'s 2019 code, both branches of the fine stage get only
    the coarse result pasted into the image. Here they also get the plane of ones and the mask, as
    in the code of Yu et al. 2018, so that the fine stage knows which pixels are generated.

    Attributes:
        width: channels of the first layer after gating; even.
        dilations: of the dilated convolutions in both stages.
        dtype: type the layers compute in.
    """

    width: int
    dilations: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, masked: Images, masks: Masks) -> tuple[Images, Images]:
        """Coarse and fine images in [-1, 1], float32, every pixel generated.

        Args:
            masked: images in [-1, 1] with their holes set to 0. Height and width are multiples of
                8.
            masks: 1 on holes.
        """
        # With zero padding, a plane of ones marks the image borders (Yu et al. 2018).
        ones = jnp.ones_like(masks)

        def network_input(images: Images) -> Features:
            return jnp.concatenate([images, ones, masks], axis=-1).astype(self.dtype)

        c, dtype = self.width, self.dtype
        x = Encoder(c, strided=(2, 4), dtype=dtype, name="coarse_encoder")(network_input(masked))
        x = DilatedConvs(4 * c, self.dilations, dtype=dtype, name="coarse_dilated")(x)
        coarse = Decoder(c, dtype=dtype, name="coarse_decoder")(x)

        fine_input = network_input(masks * coarse + (1 - masks) * masked)
        x = Encoder(c, strided=(1, 2), dtype=dtype, name="fine_encoder")(fine_input)
        x = DilatedConvs(4 * c, self.dilations, dtype=dtype, name="fine_dilated")(x)

        # Self-attention replaces the contextual attention of Yu et al. (paper, section 2.2).
        y = Encoder(c, strided=(1, 4), dtype=dtype, name="attention_encoder")(fine_input)
        y = SelfAttention(dtype=dtype, name="attention")(y)
        y = GatedConv(4 * c, dtype=dtype, name="attended_1")(y)
        y = GatedConv(4 * c, dtype=dtype, name="attended_2")(y)

        fine = Decoder(c, dtype=dtype, name="fine_decoder")(jnp.concatenate([x, y], axis=-1))
        return coarse, fine

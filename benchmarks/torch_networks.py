"""Networks of `i3ad_jax.nn` in PyTorch: a reference for tests and a baseline for speed.

Arrays are `b c h w` here. Modules carry the names that they have in flax, so weights are copied by
name.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (PyTorch's own habit)
from torch.nn.utils.parametrizations import spectral_norm


class Conv(nn.Conv2d):
    """Convolution with XLA's SAME padding: ceil(size / stride) outputs, odd padding pixel last."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        padding = "same" if stride == 1 else "valid"
        super().__init__(
            inputs, outputs, kernel, stride=stride, dilation=dilation, padding=padding, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        if self.padding == "same":
            return super().forward(input)
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        padding = []
        for size in (input.shape[3], input.shape[2]):  # F.pad begins with the last axis
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(input, padding))


class GatedConv(Conv):
    """elu(a) * sigmoid(g), where one convolution gives a and g."""

    def __init__(
        self, inputs: int, features: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(inputs, 2 * features, kernel, stride=stride, dilation=dilation)

    def forward(self, input: Tensor) -> Tensor:
        activation, gates = super().forward(input).chunk(2, dim=1)
        return F.elu(activation) * torch.sigmoid(gates)


class GatedUpsample(GatedConv):
    """Nearest neighbour, twice the size, then a gated convolution."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.interpolate(input, scale_factor=2, mode="nearest"))


class SelfAttention(nn.Module):
    """The attention of Zhang et al. 2018, keys and values max-pooled by 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, wide = max(channels // 8, 1), max(channels // 2, 1)
        self.query = nn.Conv2d(channels, narrow, 1)
        self.key = nn.Conv2d(channels, narrow, 1)
        self.value = nn.Conv2d(channels, wide, 1)
        self.output = nn.Conv2d(wide, channels, 1)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x)
        key, value = F.max_pool2d(self.key(x), 2), F.max_pool2d(self.value(x), 2)
        # One head; its axis makes the arrays those that PyTorch's fused kernels take.
        query, key, value = (y.flatten(2).mT[:, None] for y in (query, key, value))
        gathered = F.scaled_dot_product_attention(query, key, value, scale=1.0)[:, 0].mT
        return x + self.scale * self.output(gathered.unflatten(2, x.shape[2:]))


def encoder(width: int, *, strided: tuple[int, int]) -> nn.Sequential:
    """Down to a quarter of the size; `strided` as in `i3ad_jax.nn.inpainter.Encoder`."""
    c, half, quarter = width, strided[0] * width, strided[1] * width
    return nn.Sequential(
        OrderedDict(
            full=GatedConv(5, c, 5),
            half_1=GatedConv(c, half, stride=2),
            half_2=GatedConv(half, 2 * c),
            quarter_1=GatedConv(2 * c, quarter, stride=2),
            quarter_2=GatedConv(quarter, 4 * c),
            quarter_3=GatedConv(4 * c, 4 * c),
        )
    )


def dilated_convs(features: int, dilations: tuple[int, ...]) -> nn.Sequential:
    """One gated convolution for each dilation."""
    return nn.Sequential(
        OrderedDict((f"by_{d}", GatedConv(features, features, dilation=d)) for d in dilations)
    )


def decoder(inputs: int, width: int) -> nn.Sequential:
    """Layers from a quarter of the size to an RGB image in [-1, 1]."""
    c = width
    return nn.Sequential(
        OrderedDict(
            quarter_1=GatedConv(inputs, 4 * c),
            quarter_2=GatedConv(4 * c, 4 * c),
            half_1=GatedUpsample(4 * c, 2 * c),
            half_2=GatedConv(2 * c, 2 * c),
            full_1=GatedUpsample(2 * c, c),
            full_2=GatedConv(c, max(c // 2, 1)),
            rgb=Conv(max(c // 2, 1), 3, 3),
            tanh=nn.Tanh(),
        )
    )


class Inpainter(nn.Module):
    """The generator: masked images and masks to coarse and fine images."""

    def __init__(self, width: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        c = width
        self.coarse_encoder = encoder(c, strided=(2, 4))
        self.coarse_dilated = dilated_convs(4 * c, dilations)
        self.coarse_decoder = decoder(4 * c, c)
        self.fine_encoder = encoder(c, strided=(1, 2))
        self.fine_dilated = dilated_convs(4 * c, dilations)
        self.attention_encoder = encoder(c, strided=(1, 4))
        self.attention = SelfAttention(4 * c)
        self.attended_1 = GatedConv(4 * c, 4 * c)
        self.attended_2 = GatedConv(4 * c, 4 * c)
        self.fine_decoder = decoder(8 * c, c)

    def forward(self, masked: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        ones = torch.ones_like(masks)
        x = self.coarse_encoder(torch.cat([masked, ones, masks], dim=1))
        coarse = self.coarse_decoder(self.coarse_dilated(x))
        fine_input = torch.cat([masks * coarse + (1 - masks) * masked, ones, masks], dim=1)
        x = self.fine_dilated(self.fine_encoder(fine_input))
        y = self.attended_2(self.attended_1(self.attention(self.attention_encoder(fine_input))))
        return coarse, self.fine_decoder(torch.cat([x, y], dim=1))


class PatchDiscriminator(nn.Module):
    """The spectral-norm patch discriminator: images and masks to logits."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        channels = [4, *(width * min(2**layer, 4) for layer in range(depth))]
        self.convs = nn.ModuleList(
            spectral_norm(Conv(channels[layer], channels[layer + 1], 5, stride=2))
            for layer in range(depth)
        )

    def forward(self, images: Tensor, masks: Tensor) -> Tensor:
        *convs, last = self.convs
        x = torch.cat([images, masks], dim=1)
        for conv in convs:
            x = F.leaky_relu(conv(x), 0.2)
        return last(x)


def load_generator(params: Mapping[str, Any]) -> Inpainter:
    """The generator with the weights of flax's `Inpainter`, whose sizes are read off them."""
    width = params["coarse_encoder"]["full"]["conv"]["bias"].size // 2
    dilations = sorted(int(name.removeprefix("by_")) for name in params["coarse_dilated"])
    generator = Inpainter(width, tuple(dilations))
    leaves = jax.tree_util.tree_leaves_with_path(params)
    named = {
        jax.tree_util.keystr(path, simple=True, separator="."): value for path, value in leaves
    }
    generator.load_state_dict(
        {
            name.replace(".conv", "").replace("kernel", "weight"): _tensor(x)
            for name, x in named.items()
        }
    )
    return generator


def load_discriminator(
    params: Mapping[str, Any], batch_stats: Mapping[str, Any]
) -> PatchDiscriminator:
    """The discriminator with the weights of flax's `PatchDiscriminator`, in evaluation mode.

    Flax takes a step of the power iteration in every call, PyTorch only in training mode: it is
        taken here.
    """
    discriminator = PatchDiscriminator(params["conv_0"]["bias"].size, len(params))
    weights = {}
    for layer in range(len(params)):
        kernel = _tensor(params[f"conv_{layer}"]["kernel"])
        matrix = kernel.flatten(1)
        u = _tensor(batch_stats[f"spectral_norm_{layer}"][f"conv_{layer}/kernel/u"])[0]
        v = F.normalize(matrix.T @ u, dim=0)
        weights |= {
            f"convs.{layer}.bias": _tensor(params[f"conv_{layer}"]["bias"]),
            f"convs.{layer}.parametrizations.weight.original": kernel,
            f"convs.{layer}.parametrizations.weight.0._u": F.normalize(matrix @ v, dim=0),
            f"convs.{layer}.parametrizations.weight.0._v": v,
        }
    discriminator.load_state_dict(weights)
    return discriminator.eval()


def _tensor(array: Any) -> Tensor:
    """A tensor of its own; kernels go from `h w in out` to `out in h w`."""
    tensor = torch.from_numpy(np.array(array))
    return tensor.permute(3, 2, 0, 1).contiguous() if tensor.ndim == 4 else tensor

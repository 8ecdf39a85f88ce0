"""Networks and test-time optimisers of iterative projection and AnoGAN, reimplemented in PyTorch.

Arrays are `b c h w`. Modules carry the names that they have in flax, so weights are copied by name.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.torch_loop import Ssim
from benchmarks.torch_networks import Conv
from i3ad_jax.methods.anogan import Anogan, AnoganState, LatentSearchSettings
from i3ad_jax.methods.autoencoder import AutoencoderMethod, AutoencoderState
from i3ad_jax.methods.projection import ProjectionSettings
from i3ad_jax.nn import dcgan
from i3ad_jax.nn.autoencoder import SLOPE, widths


class Unflatten(nn.Module):
    """Vectors to `b c h w`, numbered as in flax: channels last."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.shape = (side, side, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, self.shape).permute(0, 3, 1, 2)


class Flatten(nn.Module):
    """The reverse."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Autoencoder(nn.Module):
    """`i3ad_jax.nn.autoencoder.Autoencoder`."""

    def __init__(self, width: int, latent_size: int, size: int) -> None:
        super().__init__()
        levels = widths(width, size)
        bottom, channels = size >> len(levels), 3
        down: OrderedDict[str, nn.Module] = OrderedDict()
        for level, features in enumerate(levels):
            down |= _activated(f"down_{level}", Conv(channels, features, 4, stride=2))
            if level:
                down |= _activated(f"conv_{level}", Conv(features, features, 3))
            channels = features
        down |= _activated("narrow_1", Conv(channels, 2 * width, 3))
        down |= _activated("narrow_2", Conv(2 * width, width, 3))
        down |= {"flatten": Flatten(), "latent": nn.Linear(width * bottom**2, latent_size)}
        up = _activated("latent", nn.Linear(latent_size, bottom * bottom * width))
        up["unflatten"] = Unflatten(bottom, width)
        up |= _activated("widen_1", Conv(width, 2 * width, 3))
        up |= _activated("widen_2", Conv(2 * width, channels, 3))
        for level, features in reversed(list(enumerate(levels))):
            if level:
                up |= _activated(f"up_{level}", nn.ConvTranspose2d(channels, features, 4, 2, 1))
                up |= _activated(f"conv_{level}", Conv(features, levels[level - 1], 3))
                channels = levels[level - 1]
        up |= {"rgb": nn.ConvTranspose2d(channels, 3, 4, 2, 1), "tanh": nn.Tanh()}
        self.encoder, self.decoder = nn.Sequential(down), nn.Sequential(up)

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))


def generator(width: int, latent_size: int, size: int) -> nn.Sequential:
    """`i3ad_jax.nn.dcgan.Generator`."""
    *wider, channels = dcgan.widths(width, size)
    bottom = size >> (len(wider) + 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        bottom=nn.Linear(latent_size, bottom * bottom * channels, bias=False),
        unflatten=Unflatten(bottom, channels),
        norm_bottom=nn.BatchNorm2d(channels),
        relu_bottom=nn.ReLU(),
    )
    for level, features in reversed(list(enumerate(wider))):
        layers[f"up_{level}"] = nn.ConvTranspose2d(channels, features, 4, 2, 1, bias=False)
        layers[f"norm_{level}"] = nn.BatchNorm2d(features)
        layers[f"relu_{level}"] = nn.ReLU()
        channels = features
    return nn.Sequential(
        layers | {"rgb": nn.ConvTranspose2d(channels, 3, 4, 2, 1), "tanh": nn.Tanh()}
    )


def discriminator_features(width: int, size: int) -> nn.Sequential:
    """The convolutions of `i3ad_jax.nn.dcgan.ImageEncoder`."""
    layers, channels = OrderedDict[str, nn.Module](), 3
    for level, features in enumerate(dcgan.widths(width, size)):
        layers[f"down_{level}"] = Conv(channels, features, 4, stride=2)
        layers[f"activation_{level}"] = nn.LeakyReLU(dcgan.SLOPE)
        channels = features
    return nn.Sequential(layers | {"flatten": nn.Flatten()})


def project(autoencoder: nn.Module, images: Tensor, settings: ProjectionSettings) -> Tensor:
    """SSIM maps after iterative projection on an autoencoder trained by L2, `b h w`."""
    moved = images
    for _ in range(settings.projection_steps):
        moved = moved.detach().requires_grad_(True)
        repeated = autoencoder(moved)
        error = (moved - repeated) / 2
        distance = (moved - images).abs().sum() / 2
        energy = (error**2).sum() + settings.projection_weight * distance
        (gradient,) = torch.autograd.grad(energy, moved)
        with torch.no_grad():
            moved = (moved - 4 * settings.projection_rate * gradient * error**2).clamp(-1, 1)
    with torch.no_grad():
        return 1 - Ssim(images)(moved)


def search_latent(
    generate: nn.Module,
    extract_features: nn.Module,
    images: Tensor,
    *,
    start: Tensor,
    settings: LatentSearchSettings,
) -> Tensor:
    """SSIM maps of what AnoGAN's search finds from the latent vector `start`, `b h w`."""
    latents = start.expand(len(images), -1).clone().requires_grad_(True)
    adam = torch.optim.Adam([latents], lr=settings.latent_learning_rate)
    with torch.no_grad():
        features = extract_features(images)
    for _ in range(settings.latent_steps):
        generated = generate(latents)
        residual = (generated - images).abs().sum()
        discrimination = (extract_features(generated) - features).abs().sum()
        loss = (1 - settings.feature_weight) * residual + settings.feature_weight * discrimination
        # By the latent vectors alone, not by the weights.
        (latents.grad,) = torch.autograd.grad(loss, latents)
        adam.step()
    with torch.no_grad():
        return 1 - Ssim(images)(generate(latents))


def load_anogan(state: AnoganState, method: Anogan) -> tuple[nn.Module, nn.Module]:
    """AnoGAN's generator, and its discriminator up to the features, with flax's weights."""
    width, size = method.training.width, method.image_size
    modules = (
        generator(width, method.training.latent_size, size),
        discriminator_features(width, size),
    )
    for module, learned in zip(modules, (state.generator, state.discriminator), strict=True):
        weights = {name: value for name, value in learned.weights.items() if name != "outputs"}
        load_weights(module, weights, learned.averages)
    return modules


def load_autoencoder(state: AutoencoderState, method: AutoencoderMethod) -> nn.Module:
    """A method's autoencoder with flax's weights."""
    module = Autoencoder(method.training.width, method.training.latent_size, method.image_size)
    return load_weights(module, state.weights)


def load_weights(module: nn.Module, *variables: Mapping[str, Any]) -> nn.Module:
    """The module, in evaluation mode, with the weights that flax has under the same names."""
    state = {}
    for path, value in jax.tree_util.tree_leaves_with_path(variables):
        *names, kind = (entry.key for entry in path[1:])
        owner = ".".join(name for name in names if name != "taps")
        tensor = torch.from_numpy(np.array(value))
        if "taps" in names and tensor.ndim == 2:
            tensor = _stride_2_kernel(tensor, module.get_submodule(owner))
        elif tensor.ndim == 4:
            tensor = tensor.permute(3, 2, 0, 1).contiguous()
        elif tensor.ndim == 2:
            tensor = tensor.T.contiguous()
        state[f"{owner}.{NAMES.get(kind, kind)}"] = tensor
    # Flax has no count of batches, and evaluation does not use it.
    counts = {
        name: value
        for name, value in module.state_dict().items()
        if name.endswith("batches_tracked")
    }
    module.load_state_dict(state | counts)
    return module.eval()


NAMES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def _stride_2_kernel(taps: Tensor, layer: nn.Module) -> Tensor:
    """The 4 x 4 kernel that `nn.layers.DownsampleConv` or `UpsampleConv` has as a matrix."""
    if isinstance(layer, nn.ConvTranspose2d):
        # Rows: 2 x 2 input pixels; columns: 2 x 2 output pixels.
        taps = taps.reshape(2, 2, layer.in_channels, 2, 2, layer.out_channels)
        # The first pixel of a window has the kernel's last taps.
        return taps.flip(0, 1).permute(2, 5, 0, 3, 1, 4).reshape(*layer.weight.shape).contiguous()
    assert isinstance(layer, nn.Conv2d)  # rows: 2 x 2 windows after space-to-depth
    taps = taps.reshape(2, 2, 2, 2, layer.in_channels, layer.out_channels)
    return taps.permute(5, 4, 0, 2, 1, 3).reshape(*layer.weight.shape).contiguous()


def _activated(name: str, layer: nn.Module) -> OrderedDict[str, nn.Module]:
    return OrderedDict({name: layer, f"{name}_activation": nn.LeakyReLU(SLOPE)})

"""RIAD in PyTorch, after its paper.

The paper: Zavrtanik, Kristan, Skocaj 2021, Reconstruction by inpainting for visual anomaly
detection, Pattern Recognition 112.

The cells of a grid are divided at random into sets. An image is reconstructed from one copy for
each set, without the cells of that set, which a U-Net fills in. Arrays are `b c h w`, intensities
in [0, 1].
"""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (PyTorch's own habit)

from benchmarks.peers.peer import Scores

CELLS = (2, 4, 8, 16)  # sides of the grid's cells in pixels, K in the paper
SETS = 3  # n in the paper
SCALES = 4  # of MSGMS
GMS_CONSTANT = 0.0026  # of Xue et al. 2014 (170 for intensities up to 255), for intensities up to 1
SMOOTHING = 21  # side in pixels of the mean filter over anomaly maps
WIDTHS = (64, 128, 256, 512, 512)  # channels of the U-Net from level to level
# Schedule of plutoyuxie's reimplementation on GitHub, without weight decay and early stopping.
EPOCHS, SLOWER_AFTER = 300, 250
LEARNING_RATE = 1e-4
BATCH = 8  # not checked against the paper; the reimplementation takes 4


class UNet(nn.Module):
    """U-Net with two convolutions a level and a skip connection at each level.

    Max pooling halves the resolution; transposed convolutions double it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(map(_convolutions, (3, *WIDTHS), WIDTHS))
        self.larger = nn.ModuleList(
            nn.ConvTranspose2d(below, own, kernel_size=2, stride=2)
            for own, below in pairwise(WIDTHS)
        )
        self.up = nn.ModuleList(_convolutions(2 * own, own) for own in WIDTHS[:-1])
        self.last = nn.Conv2d(WIDTHS[0], 3, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """An image in [0, 1], of sides that are multiples of 16."""
        skipped = []
        for down in self.down[:-1]:
            skipped.append(down(x))
            x = F.max_pool2d(skipped[-1], 2)
        x = self.down[-1](x)
        for larger, up, skip in zip(self.larger[::-1], self.up[::-1], skipped[::-1], strict=True):
            x = up(torch.cat([larger(x), skip], dim=1))
        return torch.sigmoid(self.last(x))


@dataclass(frozen=True)
class Riad:
    """A trained U-Net; every call of `score` divides the cells alike."""

    network: UNet
    seed: int

    def score(self, images: np.ndarray) -> Scores:
        """Return the MSGMS of the reconstructions, grids averaged and smoothed, and its maximum."""
        generator = torch.Generator().manual_seed(self.seed)
        with torch.inference_mode():
            x = _as_tensor(images)
            found = [
                1 - msgms(x, reconstruct(self.network, x, disjoint_masks(x, cell, generator)))
                for cell in CELLS
            ]
            maps = F.avg_pool2d(
                torch.stack(found).mean(dim=0)[:, None],
                SMOOTHING,
                stride=1,
                padding=SMOOTHING // 2,
                count_include_pad=False,  # a border's mean is that of the pixels that there are
            )[:, 0].numpy()
        return Scores(maps.max(axis=(1, 2)), maps)

    def save(self, folder: Path) -> None:
        """The weights alone."""
        torch.save(self.network.state_dict(), folder / "model.pt")


def fit(images: np.ndarray, *, seed: int, seconds: float) -> Riad:
    """Trains for 300 epochs or until the time is over."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network, pictures = UNet(), _as_tensor(images)
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rate = torch.optim.lr_scheduler.MultiStepLR(adam, [SLOWER_AFTER], gamma=0.1)
    end = time.perf_counter() + seconds
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(pictures), generator=generator).split(BATCH):
            training_step(network, adam, pictures[chosen], generator)
            if time.perf_counter() > end:
                return Riad(network.eval(), seed)
        rate.step()
    return Riad(network.eval(), seed)


def training_step(
    network: UNet, adam: torch.optim.Optimizer, images: Tensor, generator: torch.Generator
) -> float:
    """One step on images masked by cells of one random size; the loss before it."""
    cell = CELLS[int(torch.randint(len(CELLS), (), generator=generator))]
    reconstruction = reconstruct(network, images, disjoint_masks(images, cell, generator))
    loss = (
        F.mse_loss(reconstruction, images)
        + (1 - msgms(images, reconstruction)).mean()
        + (1 - ssim(images, reconstruction)).mean()
    )
    adam.zero_grad()
    loss.backward()
    adam.step()
    return loss.item()


def disjoint_masks(images: Tensor, cell: int, generator: torch.Generator) -> Tensor:
    """Masks `SETS 1 h w`, 1 where an image is hidden: each pixel in just one of them.

    The grid's cells are divided at random into sets whose sizes differ by one at most.
    """
    rows, columns = (side // cell for side in images.shape[2:])
    sets = torch.randperm(rows * columns, generator=generator).reshape(rows, columns) % SETS
    sets = sets.repeat_interleave(cell, dim=0).repeat_interleave(cell, dim=1)
    return torch.stack([(sets == number).float()[None] for number in range(SETS)])


def reconstruct(network: UNet, images: Tensor, masks: Tensor) -> Tensor:
    """Return the network's pixels under each of the masks, together."""
    filled = network(torch.cat([images * (1 - mask) for mask in masks])).chunk(len(masks))
    return sum(
        (mask * part for mask, part in zip(masks, filled, strict=True)), torch.zeros_like(images)
    )


def msgms(x: Tensor, y: Tensor) -> Tensor:
    """Multi-scale gradient magnitude similarity of two images' mean channels, in (0, 1]: `b h w`.

    At each scale, half the size of the one before, the images' Prewitt gradients are compared; the
    maps are brought to the images' size and averaged.
    """
    size, maps = x.shape[2:], []
    x, y = x.mean(dim=1, keepdim=True), y.mean(dim=1, keepdim=True)
    for scale in range(SCALES):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        a, b = gradient_magnitude(x), gradient_magnitude(y)
        similarity = (2 * a * b + GMS_CONSTANT) / (a**2 + b**2 + GMS_CONSTANT)
        maps.append(F.interpolate(similarity, size=size, mode="bilinear", align_corners=False))
    return torch.cat(maps, dim=1).mean(dim=1)


def gradient_magnitude(x: Tensor) -> Tensor:
    """Gradient magnitude of one channel, by Prewitt's operator with weights of a third."""
    across = torch.tensor([[1.0, 0.0, -1.0]] * 3) / 3
    kernels = torch.stack([across, across.T])[:, None]
    squares = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernels) ** 2
    # The root has no gradient at 0, where a picture is flat.
    return (squares.sum(dim=1, keepdim=True) + 1e-12).sqrt()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) within the borders: `b c h-10 w-10`."""
    offsets = torch.arange(11) - 5
    weights = torch.exp(-((offsets / 1.5) ** 2) / 2)
    weights = weights / weights.sum()
    window = torch.outer(weights, weights).expand(3, 1, -1, -1)

    def local_mean(values: Tensor) -> Tensor:
        return F.conv2d(values, window, groups=3)

    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x**2) - mean_x**2 + local_mean(y**2) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return (
        (2 * mean_x * mean_y + c1)
        * (2 * covariance + c2)
        / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    )


def _convolutions(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
        nn.Conv2d(outside, outside, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(),
    )


def _as_tensor(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

"""Test-time loop in idiomatic PyTorch: a Python loop over batched operations.

Arrays are `b c h w`. What does not change from one iteration to the next is computed once.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (PyTorch's own habit)

from benchmarks.precision import arithmetic
from i3ad_jax.scoring.ssim import GAUSSIAN_SD, WINDOW_SIZE

C1, C2 = 0.01**2, 0.03**2
# Images of the checkerboard pass that go through the network together, or as many as in the loop:
# more do not fill a GPU better, but take four times the loop's memory and another compilation.
TOGETHER = 64
Generator = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Ssim:
    """SSIM with reference images, Gaussian window, mirrored borders.

    In full float32 whatever the networks compute in, as ours: variances are differences of large
        numbers.
    """

    def __init__(self, references: Tensor) -> None:
        offsets = torch.arange(WINDOW_SIZE) - WINDOW_SIZE // 2
        weights = torch.exp(-0.5 * (offsets / GAUSSIAN_SD) ** 2)
        self.weights = (weights / weights.sum()).to(references)
        radius = WINDOW_SIZE // 2
        self.rows, self.columns = (
            torch.from_numpy(np.pad(np.arange(size), radius, mode="symmetric")).to(
                references.device
            )
            for size in references.shape[2:]
        )
        self.reference = (references + 1) / 2
        self.mean0 = self.local_mean(self.reference)
        self.variance0 = self.local_mean(self.reference**2) - self.mean0**2

    def local_mean(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        x = x[:, :, self.rows][:, :, :, self.columns]
        window = self.weights.expand(channels, 1, -1)
        with arithmetic("float32"):
            along_rows = F.conv2d(x, window[:, :, :, None], groups=channels)
            return F.conv2d(along_rows, window[:, :, None], groups=channels)

    def __call__(self, images: Tensor) -> Tensor:
        """SSIM, averaged over channels: `b h w`."""
        x = (images + 1) / 2
        mean = self.local_mean(x)
        variance = self.local_mean(x**2) - mean**2
        covariance = self.local_mean(self.reference * x) - self.mean0 * mean
        luminance = (2 * self.mean0 * mean + C1) / (self.mean0**2 + mean**2 + C1)
        structure = (2 * covariance + C2) / (self.variance0 + variance + C2)
        return (luminance * structure).mean(dim=1)


def checkerboards(images: Tensor, patches: int) -> Tensor:
    """The four masks, `4 1 h w`."""
    rows, columns = (
        torch.arange(n, device=images.device) * patches // n % 2 for n in images.shape[2:]
    )
    number = 2 * rows[:, None] + columns
    return torch.stack([(number == k).to(images.dtype)[None] for k in range(4)])


@torch.inference_mode()
def refine(
    generate: Generator, images: Tensor, *, u: float, iterations: int, patches: int
) -> Tensor:
    """Return the SSIM maps, `b h w`, after all iterations.

    Pixels outside the mask are those of the previous image.
    """
    masks = checkerboards(images, patches)
    every_image, every_mask = images.repeat_interleave(4, dim=0), masks.repeat(len(images), 1, 1, 1)
    parts = (x.split(max(TOGETHER, len(images))) for x in (every_image, every_mask))
    # Masked at once: the next call of a CUDA graph overwrites what the last one gave.
    found = [
        mask * generate(image * (1 - mask), mask)[1].float()
        for image, mask in zip(*parts, strict=True)
    ]
    x = torch.cat(found).unflatten(0, (len(images), 4)).sum(dim=1)
    ssim = Ssim(images)
    score = 1 - ssim(x)
    for _ in range(iterations):
        mask = (score >= u).to(images.dtype)[:, None]
        inpainted = generate(x * (1 - mask), mask)[1].float()
        x = mask * inpainted + (1 - mask) * x
        score = 1 - ssim(x)
    return score

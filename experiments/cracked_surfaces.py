"""`python -m experiments.cracked_surfaces`: synthetic surfaces with thin cracks.

This dataset requires tiles: resized to a network's input, the surfaces with a crack look like the
others. All share their shading; each has its own grain, specks and exposure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter
from tqdm import tqdm

from i3ad_jax import command_line
from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.errors import InputError

PROGRAM = "python -m experiments.cracked_surfaces"
HEIGHT, WIDTH = 1258, 500
COUNTS = {"train/good": 150, "test/good": 40, "test/crack": 40}

Surface = Float[np.ndarray, "h w"]


@dataclass(frozen=True)
class Flags:
    """Write 150 normal training, 40 normal and 40 cracked test images, in MVTec AD's layout."""

    out: Path
    """A new folder for the data set."""
    seed: int = 5
    """Seed of all randomness."""


def make_surface(rng: np.random.Generator) -> Surface:
    """A normal surface, intensities around 0.5."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH] / WIDTH
    ridge = 0.18 * np.exp(-(((x - 0.5 - rng.normal(0, 0.03)) / 0.28) ** 2))
    shading = 0.45 + ridge + 0.05 * np.sin(3 * y + rng.uniform(0, 6.28))
    clouds = gaussian_filter(rng.normal(size=(HEIGHT // 8 + 1, WIDTH // 8 + 1)), 4)
    clouds = gaussian_filter(np.kron(clouds, np.ones((8, 8)))[:HEIGHT, :WIDTH], 6)
    grain = gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 1.0)
    surface = shading + 0.025 * clouds / clouds.std() + 0.03 * grain / grain.std()
    for _ in range(rng.integers(5, 25)):
        _add_speck(rng, surface)
    return surface * rng.uniform(0.85, 1.15)


def make_crack(rng: np.random.Generator) -> Bool[np.ndarray, "h w"]:
    """Draw a crack: a walk that turns a little at each step, one to five pixels wide."""
    crack = np.zeros((HEIGHT, WIDTH), bool)
    y, x = rng.uniform(100, HEIGHT - 100), rng.uniform(80, WIDTH - 80)
    angle = rng.uniform(0, 6.28)
    for _ in range(int(rng.uniform(40, 220))):
        angle += rng.normal(0, 0.25)
        y, x = y + np.sin(angle), x + np.cos(angle)
        if 0 <= int(y) < HEIGHT and 0 <= int(x) < WIDTH:
            crack[int(y), int(x)] = True
    widen = int(rng.integers(0, 3))
    return binary_dilation(crack, iterations=widen) if widen else crack


def _add_speck(rng: np.random.Generator, surface: Surface) -> None:
    y, x = rng.integers(0, HEIGHT), rng.integers(0, WIDTH)
    radius, strength = rng.uniform(1, 2.5), rng.uniform(-0.15, 0.15)
    rows, columns = np.ogrid[max(0, y - 8) : min(HEIGHT, y + 9), max(0, x - 8) : min(WIDTH, x + 9)]
    surface[rows, columns] += strength * np.exp(
        -((rows - y) ** 2 + (columns - x) ** 2) / (2 * radius**2)
    )


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, writes the images."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    rng = np.random.default_rng(flags.seed)
    truths = flags.out / "ground_truth" / "crack"
    try:
        flags.out.mkdir(parents=True)
        for folder in (*(flags.out / name for name in COUNTS), truths):
            folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"--out {flags.out}: cannot be made ({error.strerror}); name a new folder"
        ) from error
    jobs = [(folder, number) for folder, count in COUNTS.items() for number in range(count)]
    for folder, number in tqdm(jobs, "surfaces", unit="image"):
        surface = make_surface(rng)
        if not folder.endswith(NORMAL):
            crack = make_crack(rng)
            edge = gaussian_filter(crack.astype(float), 0.7)
            surface *= 1 - rng.uniform(0.35, 0.7) * edge / max(edge.max(), 1e-6)
            Image.fromarray(crack.astype(np.uint8) * 255).save(truths / f"{number:03}_mask.png")
        pixels = (np.clip(surface, 0, 1) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(flags.out / folder / f"{number:03}.jpg", quality=92)
    print(flags.out)


if __name__ == "__main__":
    command_line.run(main)

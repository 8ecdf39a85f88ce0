"""`python -m benchmarks.scale`: estimate the cost of scoring many images.

The estimate is a model of a trial with a sample of them.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from benchmarks.processes import clean_environment, cost_of
from benchmarks.stopwatch import machine, median_seconds
from benchmarks.tables import publish
from i3ad_jax import command_line
from i3ad_jax.data.inputs import as_pictures, find_images
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError

PROGRAM = "python -m benchmarks.scale"
COLUMNS = (
    "images",
    "machines",
    "hours",
    "node_hours",
    "terabytes_read",
    "bottleneck",
    "measured_hours",
)
SIZES = tuple(10**power for power in range(4, 11))
Bottleneck = Literal["cores", "accelerator", "reading files", "network"]


@dataclass(frozen=True)
class Flags:
    """Measure a run's cost per image of a folder; write estimates for many images to OUT.

    The estimates are for 10,000 to 10,000,000,000 images. With --check `i3ad predict` scores the
    folder's images too, beside the model's estimate of them.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a trained run."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, or folders of them."""
    out: Path = Path("scale")
    """Folder for the table."""
    trial: int = 2000
    """Images that are measured, evenly spaced among all."""
    machines: tuple[int, ...] = (1, 8, 64)
    """Numbers of machines like this one."""
    network: float = 100.0
    """Megabytes a second that each machine gets from where the images are."""
    check: bool = False
    """Score all images by the command too."""


@dataclass(frozen=True)
class Costs:
    """Measurements on this machine.

    Attributes:
        start: seconds of the command before and after all images.
        read: seconds to read, decode and resize an image, by all cores.
        score: seconds of the program for an image, with its calibrated scores.
        bytes: of an image's file.
        shared: whether both are the work of the same cores.
    """

    start: float
    read: float
    score: float
    bytes: float
    shared: bool

    def seconds(self, images: int, *, machines: int, network: float) -> float:
        """Seconds for `images`, divided evenly; a machine gets `network` bytes a second."""
        return self.start + images / machines * max(self.of_image(), self.bytes / network)

    def of_image(self) -> float:
        """Seconds of a machine for an image that is there."""
        return self.read + self.score if self.shared else max(self.read, self.score)

    def bottleneck(self, *, network: float) -> Bottleneck:
        """Bottleneck of the command."""
        if self.bytes / network > self.of_image():
            return "network"
        if self.shared:
            return "cores"
        return "reading files" if self.read > self.score else "accelerator"


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    files = find_images(flags.images).images
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(flags, files, Path(folder))
        measured = (
            {len(files): command_seconds(flags, flags.images, Path(folder))} if flags.check else {}
        )
    notes = {
        **machine(),
        "start_seconds": costs.start,
        "milliseconds_to_read": 1e3 * costs.read,
        "milliseconds_to_score": 1e3 * costs.score,
        "kilobytes_an_image": costs.bytes / 1e3,
    }
    publish(flags.out, "scale", COLUMNS, list(rows(costs, flags, measured)), notes=notes)


def rows(costs: Costs, flags: Flags, measured: dict[int, float]) -> Iterator[dict[str, Any]]:
    """Yield the model's time for each number of images and machines, beside measured ones."""
    network = 1e6 * flags.network
    for images in sorted({*SIZES, *measured}):
        for machines in flags.machines:
            hours = costs.seconds(images, machines=machines, network=network) / 3600
            yield {
                "images": images,
                "machines": machines,
                "hours": hours,
                "node_hours": hours * machines,
                "terabytes_read": images * costs.bytes / 1e12,
                "bottleneck": costs.bottleneck(network=network),
                "measured_hours": measured[images] / 3600
                if machines == 1 and images in measured
                else None,
            }


def measure(flags: Flags, files: Sequence[Path], folder: Path) -> Costs:
    """The costs by a trial: medians of some calls, compilation apart.

    Raises:
        InputError: there are fewer images than the trial needs, or one cannot be used.
    """
    if len(files) < flags.trial:
        raise InputError(f"--trial {flags.trial}: there are {len(files)} images; lower it")
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, flags.trial).round().astype(int)]
    detector = Detector.load(flags.run)
    size, aspect = detector.preprocessing.size, detector.config.data.aspect

    def read() -> np.ndarray:
        pictures = as_pictures(chosen, size=size, aspect=aspect, chunk=detector.chunk)
        return np.stack([picture.pixels for picture in pictures])

    pixels = read()

    def score() -> None:
        for first in range(0, len(pixels), detector.chunk):
            part = pixels[first : first + detector.chunk]
            detector.calibration.image_scores(detector.anomaly_maps(part))

    command_seconds(flags, chosen[:1], folder)  # compiles
    return Costs(
        start=command_seconds(flags, chosen[:1], folder),
        read=median_seconds(read, rounds=3, label="read") / len(chosen),
        score=median_seconds(score, rounds=3, label="score") / len(chosen),
        bytes=float(np.mean([file.stat().st_size for file in chosen])),
        shared=jax.default_backend() == "cpu",
    )


def command_seconds(flags: Flags, images: Sequence[Path], folder: Path) -> float:
    """Seconds of `i3ad predict` as a process; what it compiles stays in `folder`."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        words = [
            sys.executable,
            "-m",
            "i3ad_jax.predict",
            flags.run.resolve(),
            *map(Path.resolve, images),
        ]
        return cost_of(
            [*words, "--out", out, "--save", "scores", "--engine", "blocks"],
            environment={**clean_environment(folder), "PYTHONPATH": str(Path(__file__).parents[1])},
        ).seconds


if __name__ == "__main__":
    command_line.run(main)

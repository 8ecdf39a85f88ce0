"""`python -m experiments.how_many`: image AUROC by the number of training images."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import markdown
from experiments.comparison import Cell
from experiments.finding import over_seeds, save_figure
from experiments.runs import writing
from i3ad_jax import command_line
from i3ad_jax.config import Preset, default_config
from i3ad_jax.data.dataset import NORMAL, Split
from i3ad_jax.data.folder import list_samples
from i3ad_jax.data.reading import DEFAULT_READING
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.runs.environment import environment
from i3ad_jax.runs.files import write_csv, write_text
from i3ad_jax.scoring.maps import COMBINED
from i3ad_jax.training.recorded import Interrupted

PROGRAM = "python -m experiments.how_many"


@dataclass(frozen=True)
class Flags:
    """Measure image AUROC (combined score) by the number of normal images that are trained on.

    Each number is a run of its own for each seed, in OUT/images-N-seedS; the same command continues
    after an interruption, and does not train finished runs again. A seed draws the calibration set,
    which is the same for all its runs, and an order of the other images; N images are the first N
    of it. All runs are tested on the same images. Write how_many.csv, .md, .png and .svg to OUT.
    """

    out: Path
    """Folder for the runs and the results."""
    data: Path
    """Data set with test images: a folder or a manifest, as for train."""
    images: tuple[int, ...]
    """Numbers of normal images to train on."""
    method: str = "i3ad"
    """Method to train."""
    preset: Preset = "standard"
    """Settings of the runs."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run for each, of each number."""


class Row(NamedTuple):
    """AUROC of one number of training images, mean and standard deviation over seeds.

    Attributes:
        images: number of images trained on.
        calibration_images: number of calibration images.
        image_auroc: of the combined score.
    """

    images: int
    calibration_images: int
    image_auroc: Cell


class Division(NamedTuple):
    """Images of a seed: the calibration set, and all others in the order they are taken in."""

    calibration: Sequence[Path]
    others: Sequence[Path]

    @classmethod
    def draw(cls, paths: Sequence[Path], *, fraction: float, seed: int) -> "Division":
        """Draw a calibration set of a fraction of the images, rounded, at least one."""
        order = [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]
        count = max(round(fraction * len(paths)), 1)
        return cls(order[:count], order[count:])

    def first(self, count: int, *, seed: int) -> tuple[list[Path], float]:
        """Return the calibration set and the first images, and the fraction that is the former.

        Their order is that in which a training with this fraction and seed holds out the
        calibration set.
        """
        together = count + len(self.calibration)
        fraction = len(self.calibration) / together
        positions = Split.of_normal_images(np.zeros((together, 1, 1, 3), np.uint8))
        held_out = TrainingFiles.choose(positions, fraction=fraction, seed=seed).held_out
        calibration, others = iter(self.calibration), iter(self.others)
        arranged = [next(calibration if i in held_out else others) for i in positions.paths]
        return arranged, fraction


def training_images(data: Path) -> list[Path]:
    """Return the files of the normal training images.

    Raises:
        InputError: there is no data set, its images are not files, or it lacks test images of
            either kind.
    """
    if not data.exists():
        raise InputError(f"--data {data}: no such folder or file; give a data set on disk")
    listing = list_samples(data, DEFAULT_READING)
    if len({sample.defect == NORMAL for sample in listing.test}) < 2:
        raise InputError(f"--data {data}: needs normal and anomalous test images")
    paths = [sample.image for sample in listing.train if isinstance(sample.image, Path)]
    if len(paths) < len(listing.train):
        raise InputError(f"--data {data}: the training images must be files; extract them")
    return paths


def measure(flags: Flags, paths: Sequence[Path]) -> Iterator[Row]:
    """Train and test the runs that are missing; yield the figures of all, by number.

    Raises:
        InputError: a run cannot be trained, or its folder holds a run with other settings.
        Interrupted: on Ctrl-C or SIGTERM during training; the same command continues.
    """
    fraction = default_config(flags.method, preset=flags.preset).data.held_out
    divisions = {seed: Division.draw(paths, fraction=fraction, seed=seed) for seed in flags.seeds}
    for division in divisions.values():  # all of them first
        for count in flags.images:
            if not 2 <= count <= len(division.others):
                raise InputError(
                    f"--images {count}: must be at least 2 and at most {len(division.others)};"
                    f" {len(division.calibration)} of {len(paths)} images calibrate"
                )
    with tqdm(total=len(flags.images) * len(divisions), unit="run") as bar:
        for count in flags.images:
            areas = []
            for seed, division in divisions.items():
                bar.set_description(f"{count} images seed {seed}")
                images, own = division.first(count, seed=seed)
                detector = Detector.fit(
                    images,
                    method=flags.method,
                    preset=flags.preset,
                    folder=flags.out / f"images-{count}-seed{seed}",
                    resume=True,
                    progress=True,
                    seed=seed,
                    held_out=own,
                )
                metrics = detector.evaluate(flags.data, progress=True).metrics
                areas.append(metrics[COMBINED.name]["image_auroc"])
                bar.update()
            calibrate = len(next(iter(divisions.values())).calibration)
            yield Row(count, calibrate, over_seeds(areas))


def draw(figure: Figure, rows: Sequence[Row]) -> None:
    """Draw AUROC by the number of training images."""
    axes = figure.subplots()
    rows = sorted(rows)
    counts = [row.images for row in rows]
    areas = [np.nan if row.image_auroc.mean is None else row.image_auroc.mean for row in rows]
    axes.errorbar(counts, areas, yerr=[row.image_auroc.sd or 0 for row in rows], fmt="o-")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, list(map(str, counts)))
    axes.set(xlabel="training images", ylabel="image AUROC (combined)")
    axes.grid(linewidth=0.5)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, trains what is missing, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    for name in ("images", "seeds"):
        if not getattr(flags, name):
            raise InputError(f"--{name}: no value given; name at least one")
    paths = training_images(flags.data)
    try:
        rows = list(measure(flags, paths))
    except Interrupted as stop:
        print(f"\n{stop}. To continue, give the same command again.", file=sys.stderr)
        sys.exit(128 + stop.signal)
    figure = Figure(figsize=(5, 3.4), layout="constrained")
    draw(figure, rows)
    header = [*Row._fields[:2], "image_auroc_mean", "image_auroc_sd"]
    lines = [[*row[:2], row.image_auroc.mean, row.image_auroc.sd] for row in rows]
    notes: dict[str, Any] = {
        "command": f"{PROGRAM} {shlex.join(arguments)}",
        "method": f"{flags.method}, preset {flags.preset}",
        "seeds": flags.seeds,
        **environment(),
    }
    parts = [markdown.table(Row._fields, rows), "![Image AUROC](how_many.png)"]
    out = flags.out
    with writing(out):
        write_csv(out / "how_many.csv", header, lines)
        write_text(out / "how_many.md", markdown.page("Training images", parts, notes))
        save_figure(figure, out / "how_many")
    print(f"\n{parts[0]}\n\n{out / 'how_many.md'}\n{out / 'how_many.png'}")


if __name__ == "__main__":
    command_line.run(main)

"""`python -m experiments.skips`: what each skip connection of the U-Net does (paper, section 4)."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from i3ad_jax import command_line
from i3ad_jax.config import Config, validate
from i3ad_jax.data.dataset import NORMAL, Dataset
from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.figures import contact_sheet
from i3ad_jax.fit import Interrupted, load_trained
from i3ad_jax.nn.unet import LEVELS
from i3ad_jax.presets import defaults
from i3ad_jax.run_folder import RunFolder, environment, write_csv, write_text
from i3ad_jax.shapes import to_float, to_uint8
from i3ad_jax.train import train

PROGRAM = "python -m experiments.skips"
SKIPS: dict[str, tuple[int, ...]] = {"none": (), **{str(n): (n,) for n in range(1, LEVELS + 1)}}
AUROCS = {
    f"{kind}_{name}": (kind, name) for kind in ("l2", "ssim") for name in ("image_auroc", "pixel_auroc")
}
ERRORS = ("normal_error", "defect_error")


@dataclass(frozen=True)
class Flags:
    """Train the U-Net with no skip connection and with each alone; write table and pictures to OUT.

    Give the same command again to go on where it stopped.
    """

    out: Path
    """Folder for the results; the runs are in its subfolder runs."""
    data: str = "textures:weave"
    """Any form that train takes, with test images and masks."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run of each network for each."""
    preset: Literal["quick", "paper"] = "quick"
    """Settings of all runs, but for the skip connections."""
    steps: int | None = None
    """Training steps; by default those of the preset."""


@dataclass(frozen=True)
class Row:
    """What one network did.

    Attributes:
        skips: a key of `SKIPS`.
        seed: of the run.
        figures: AUROC by `AUROCS`, and the mean squared error, in [0, 4], of reconstructing the pixels of
            `ERRORS`: those of normal test images, and those of defects.
    """

    skips: str
    seed: int
    figures: Mapping[str, float]


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, trains what is missing, measures."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    runs = plan(flags)
    first = next(iter(runs.values()))
    data = load_dataset(flags.data, image_size=first.data.image_size, aspect=first.data.aspect)
    if not data.test.masks.any():
        raise InputError(f"--data {flags.data}: no test image with a mask; defects are measured by masks")
    rows = []
    with tqdm(runs.items(), unit="run") as progress:
        for (skips, seed), config in progress:
            progress.set_description(f"skips {skips} seed {seed}")
            folder = _folder(flags.out, skips, seed)
            try:
                _finish(config, folder)
            except Interrupted as stop:
                progress.close()
                print(f"\n{folder.path} {stop}. To go on, give the same command again.", file=sys.stderr)
                sys.exit(128 + stop.signal)
            rows.append(Row(skips, seed, measure(folder, data)))
    write_csv(
        flags.out / "skips.csv",
        ("skips", "seed", *AUROCS, *ERRORS),
        [(row.skips, row.seed, *row.figures.values()) for row in rows],
    )
    write_text(flags.out / "skips.md", markdown(rows, _notes(flags, first.training.steps)))
    figure = chart(rows)
    figure.savefig(flags.out / "skips.png", dpi=150)
    figure.savefig(flags.out / "skips.svg")
    _reconstructions(flags, runs, data).save(flags.out / "reconstructions.png")
    print(f"{len(rows)} runs; results in {flags.out}")


def plan(flags: Flags) -> dict[tuple[str, int], Config]:
    """The settings of each run, by its skip connections and its seed.

    Raises:
        InputError: a flag makes no sense.
    """
    if not flags.seeds:
        raise InputError("--seeds: nothing given; name at least one or leave it out")
    base = defaults(flags.preset, "unet")
    steps = base.training.steps if flags.steps is None else flags.steps
    base = replace(
        base, data=replace(base.data, data=flags.data), training=replace(base.training, steps=steps)
    )
    validate(base)
    return {
        (name, seed): replace(base, seed=seed, network=replace(base.network, skips=skips))
        for (name, skips), seed in product(SKIPS.items(), dict.fromkeys(flags.seeds))
    }


def measure(folder: RunFolder, data: Dataset) -> dict[str, float]:
    """The `Row.figures` of a finished run on the test images of `data`."""
    scores = folder.read_json(folder.results)["scores"]
    error = np.load(folder.maps / "l2.npy", allow_pickle=False)
    parts = error[data.test.labels == 0], error[data.test.masks]
    return {
        **{column: scores[kind][name] for column, (kind, name) in AUROCS.items()},
        **{name: float(part.mean()) for name, part in zip(ERRORS, parts, strict=True)},
    }


def means(rows: Sequence[Row]) -> dict[str, dict[str, tuple[float, float | None]]]:
    """Mean over seeds and standard deviation, None of a single seed, by skips and figure."""
    table = {}
    for skips in dict.fromkeys(row.skips for row in rows):
        runs = [row.figures for row in rows if row.skips == skips]
        columns = {name: [run[name] for run in runs] for name in runs[0]}
        table[skips] = {
            name: (fmean(values), stdev(values) if len(values) > 1 else None)
            for name, values in columns.items()
        }
    return table


def markdown(rows: Sequence[Row], notes: Mapping[str, Any]) -> str:
    """The table, what it says in a sentence for each skip connection, and the notes."""
    table = means(rows)
    header = ["skips", *AUROCS, *ERRORS]
    lines = [
        [skips, *(f"{mean:.3f}" + (f" ± {sd:.3f}" if sd is not None else "") for mean, sd in cells.values())]
        for skips, cells in table.items()
    ]
    text = [" | ".join(cells) for cells in (header, ["---"] * len(header), *lines)]
    return "\n".join(
        [
            "# Skip connections of the U-Net",
            "",
            *(f"| {line} |" for line in text),
            "",
            *(f"{sentence}" for sentence in _conclusion(table)),
            "",
            *(f"- {name}: {value}" for name, value in notes.items()),
            "",
        ]
    )


def chart(rows: Sequence[Row]) -> Figure:
    """Image AUROC, and how well normal pixels and defects are repeated, a point for each seed."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(row.skips for row in rows))

    def points(axes: Any, figures: Mapping[str, str]) -> None:
        for index, (name, label) in enumerate(figures.items()):
            places = [names.index(row.skips) + 0.16 * (index - 0.5) for row in rows]
            axes.plot(places, [row.figures[name] for row in rows], "os"[index], label=label, alpha=0.8)
        axes.set_xticks(range(len(names)), names)
        axes.set_xlabel("skip connection that is on")
        axes.grid(axis="y", linewidth=0.5)
        axes.legend()

    points(left, {"l2_image_auroc": "L2", "ssim_image_auroc": "SSIM"})
    left.axhline(0.5, color="grey", linewidth=1, linestyle="--")
    left.set_ylabel("image AUROC")
    points(right, {"normal_error": "normal images", "defect_error": "defects"})
    right.set_yscale("log")
    right.set_ylabel("mean squared error of a pixel")
    return figure


def _conclusion(table: Mapping[str, Mapping[str, tuple[float, float | None]]]) -> list[str]:
    """A sentence for each skip connection: what it changes, in numbers."""
    none = {name: mean for name, (mean, _) in table["none"].items()}
    sentences = [
        f"- Without skip connections a pixel of a defect has {_ratio(none):.1f} times the error of one of"
        f" a normal image; image AUROC {none['l2_image_auroc']:.3f} (L2),"
        f" {none['ssim_image_auroc']:.3f} (SSIM)."
    ]
    for skips, cells in table.items():
        if skips == "none":
            continue
        this = {name: mean for name, (mean, _) in cells.items()}
        l2, ssim = (this[name] - none[name] for name in ("l2_image_auroc", "ssim_image_auroc"))
        sentences.append(
            f"- With skip {skips} the error of defects is {this['defect_error'] / none['defect_error']:.2g}"
            f" of that without, {_ratio(this):.1f} times that of normal images; image AUROC changes by"
            f" {l2:+.3f} (L2), {ssim:+.3f} (SSIM)."
        )
    return sentences


def _ratio(figures: Mapping[str, float]) -> float:
    return figures["defect_error"] / figures["normal_error"]


def _folder(out: Path, skips: str, seed: int) -> RunFolder:
    return RunFolder(out / "runs" / f"skips-{skips}-seed{seed}")


def _finish(config: Config, folder: RunFolder) -> None:
    """Trains and tests what is missing of a run.

    Raises:
        InputError: the run was made with other settings.
    """
    if folder.config.exists() and folder.read_config() != config:
        raise InputError(f"--out {folder.path}: was made with other settings; name another folder")
    if not folder.results.exists():
        train(config, folder, resume=folder.config.exists())


def _reconstructions(flags: Flags, runs: Mapping[tuple[str, int], Config], data: Dataset) -> Any:
    """Picture of a test image of each kind, and below it what each network of the first seed makes of it."""
    kinds = [NORMAL, *sorted(set(data.test.defects) - {NORMAL})]
    images = data.test.images[[data.test.defects.index(kind) for kind in kinds if kind in data.test.defects]]
    rows = [images]
    for skips in SKIPS:
        method, state = load_trained(_folder(flags.out, skips, flags.seeds[0]), runs[skips, flags.seeds[0]])
        sample = method.sample(state, to_float(jnp.asarray(images)), jax.random.key(0))
        rows.append(np.asarray(to_uint8(sample[-1])))
    return contact_sheet(rows)


def _notes(flags: Flags, steps: int) -> dict[str, Any]:
    machine = environment()
    packages = ", ".join(f"{name} {version}" for name, version in machine.pop("packages").items())
    return {
        "errors": "mean squared error of a reconstructed pixel, of intensities in [-1, 1]: of those of normal"
        " test images, and of those of defects",
        "data": flags.data,
        "preset": flags.preset,
        "steps": steps,
        "seeds": ", ".join(map(str, flags.seeds)),
        **machine,
        "devices": ", ".join(machine["devices"]),
        "packages": packages,
    }


if __name__ == "__main__":
    command_line.run(main)

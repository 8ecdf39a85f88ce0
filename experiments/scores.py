"""`python -m experiments.scores`: compare plain and calibrated scores of finished runs.

The plain score is the paper's.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import markdown, study
from experiments.categories import categories
from experiments.comparison import Cell
from experiments.finding import over_seeds, save_figure
from experiments.runs import writing
from i3ad_jax import command_line
from i3ad_jax.calibration.fusion import Fusion
from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.images import Size
from i3ad_jax.data.load import DataSettings
from i3ad_jax.errors import InputError
from i3ad_jax.runs.environment import environment
from i3ad_jax.runs.files import read_array, read_json, write_csv, write_text
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring import maps
from i3ad_jax.scoring.metrics import image_auroc, pixel_aupro, pixel_auroc

PROGRAM = "python -m experiments.scores"
METRICS = ("image_auroc", "pixel_auroc", "aupro")
HEADLINE = "headline"
# Each row of the table: the map, and its pooling; None for the one that each run chose.
SCORES: dict[str, tuple[str, maps.Pooling | None]] = {
    **{f"{s.label}, mean": (s.name, "mean") for s in maps.SCORES.values()},
    **{f"{s.label}, chosen": (s.name, None) for s in (*maps.CALIBRATED, maps.COMBINED)},
    HEADLINE: (HEADLINE, None),
}
PLAIN = "SSIM, mean"  # the paper's score, with which the headline is compared
ALL = "all"


@dataclass(frozen=True)
class Flags(study.Flags):
    """Compare image scores of finished runs' maps; write scores.csv, .md, .png and .svg to OUT.

    The paper's score is the mean of a map; others take the highest pixels, or the map in units of
    the deviation of held-out normal images, or both. The headline is what each run chose by
    synthetic defects.
    """

    runs: tuple[Path, ...] = ()
    """Runs, or folders in which to look for them: any data, methods and seeds. Without any, runs of
    i3ad and pca in OUT/runs, which are trained where they are missing."""
    without: Path | None = None
    """Text file with names of test images without suffix, one a line, as NAME or CLASS/NAME: data
    that has them is measured without them too."""


class Key(NamedTuple):
    """Identity of a row of the table, besides its score."""

    data: str
    images: str
    method: str


# Every metric of each score, by seed.
Measured = dict[Key, dict[int, dict[str, dict[str, float]]]]


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures all runs, writes the files, prints the gain."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    left_out = _listed(flags.without)
    measured: Measured = {}
    found: set[str] = set()
    for folder in tqdm(_folders(flags), unit="run"):
        config = folder.read_config()
        (data,) = categories([config.data.data])
        dataset = _dataset(config.data, folder.read_plan().preprocessing.size)
        if read_json(folder.results)["data_digest"] != dataset.digest:
            raise InputError(
                f"{folder.results}: of other images than {config.data.data}; evaluate it again"
            )
        names = [_names(path) & left_out for path in dataset.test.paths]
        found = found.union(*names)
        for images, chosen in _parts(np.array([not listed for listed in names])).items():
            seeds = measured.setdefault(Key(data, images, config.method), {})
            if config.seed in seeds:
                same = f"{data}, {config.method}, seed {config.seed}"
                raise InputError(f"--runs {folder.path}: a second run of {same}; name one of them")
            seeds[config.seed] = measure(folder, dataset.test, chosen)
    if unknown := left_out - found:
        raise InputError(
            f"--without {flags.without}: {min(unknown)} is not a test image of these runs"
        )
    _write(flags.out, measured, arguments)


def find_runs(paths: Sequence[Path]) -> list[RunFolder]:
    """Return the finished runs at or below the paths, sorted, without other tests in their folders.

    Raises:
        InputError: there is none.
    """
    found = []
    for path in paths:
        tested = sorted(file.parent for file in path.rglob("results.json"))
        here = [folder for folder in tested if not {*folder.parents} & {*tested}]
        if not here:
            raise InputError(f"--runs {path}: no finished run there, nor in a folder below")
        found += here
    return [RunFolder(folder) for folder in dict.fromkeys(found)]


def measure(
    folder: RunFolder, test: Split, chosen: Bool[np.ndarray, " n"]
) -> dict[str, dict[str, float]]:
    """Every metric of each score of `SCORES` that the run has, on the chosen test images.

    NaN where the data gives none.
    """
    annotated = chosen & test.annotated
    results = read_json(folder.results)
    stored, pixels = {}, {}
    for name in results["scores"]:
        stored[name] = read_array(folder.maps / f"{name}.npy")
        truth, own = test.masks[annotated], stored[name][annotated]
        pixels[name] = pixel_auroc(truth, own), pixel_aupro(truth, own)
    found = {}
    for score, (name, pooling) in SCORES.items():
        name = results["headline"] if name == HEADLINE else name
        if name in stored:
            if pooling is None and name == maps.COMBINED.name and results.get("fusion"):
                fusion = Fusion.from_json(results["fusion"])
                images = fusion.scores({part: stored[part][chosen] for part in fusion.parts})
            else:
                pooled = pooling or results["pooling"][name]
                images = maps.image_scores(stored[name][chosen], pooled)
            values = image_auroc(test.labels[chosen], images), *pixels[name]
            found[score] = {
                of: np.nan if v is None else v for of, v in zip(METRICS, values, strict=True)
            }
    return found


def gain(seeds: Mapping[int, Mapping[str, Mapping[str, float]]], metric: str) -> Cell:
    """The selected score's metric less the plain one's, seed by seed."""
    return over_seeds(
        [values[HEADLINE][metric] - values[PLAIN][metric] for values in seeds.values()]
    )


def _folders(flags: Flags) -> list[RunFolder]:
    return find_runs(flags.runs) if flags.runs else study.folders(flags, methods=("i3ad", "pca"))


def _listed(file: Path | None) -> set[str]:
    try:
        return set() if file is None else set(file.read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        raise InputError(f"--without {file}: cannot be read ({error})") from error


def _names(path: str) -> set[str]:
    """Return an image's names for `--without`: no suffix, any number of folders before the name."""
    parts = PurePath(path).with_suffix("").parts
    return {"/".join(parts[first:]) for first in range(len(parts))}


def _parts(kept: Bool[np.ndarray, " n"]) -> dict[str, Bool[np.ndarray, " n"]]:
    """Return the sets of test images to measure: all and, if any are left out, the others."""
    parts = {ALL: np.ones_like(kept)}
    return parts if kept.all() else {**parts, f"without {(~kept).sum()} listed": kept}


@cache
def _dataset(data: DataSettings, size: Size) -> Dataset:
    return data.load(size=size)


def _write(out: Path, measured: Measured, arguments: Sequence[str]) -> None:
    """Writes all files and prints the gain."""
    rows = {
        (key, score): [
            over_seeds([v[score][metric] for v in measured[key].values()]) for metric in METRICS
        ]
        for key, score in product(sorted(measured), SCORES)
        if all(score in values for values in measured[key].values())
    }
    header = [
        *Key._fields,
        "score",
        "seeds",
        *(f"{metric}_{part}" for metric in METRICS for part in ("mean", "sd")),
    ]
    lines = [
        [
            *key,
            score,
            len(measured[key]),
            *(part for cell in cells for part in (cell.mean, cell.sd)),
        ]
        for (key, score), cells in rows.items()
    ]
    conclusion = [
        f"- {key.data} ({key.images} images), {key.method}: image AUROC {rows[key, PLAIN][0]} by"
        f" the mean of SSIM, {rows[key, HEADLINE][0]} by the selected score; gain"
        f" {gain(measured[key], 'image_auroc')}"
        for key in sorted(measured)
    ]
    with writing(out):
        write_csv(out / "scores.csv", header, lines)
        write_text(out / "scores.md", _markdown(conclusion, rows, measured, arguments))
        figure = _figure(measured)
        save_figure(figure, out / "scores")
    print("\n" + "\n".join(conclusion) + f"\n\n{out / 'scores.md'}\n{out / 'scores.png'}")


def _markdown(
    conclusion: Sequence[str],
    rows: Mapping[tuple[Key, str], Sequence[Cell]],
    measured: Measured,
    arguments: Sequence[str],
) -> str:
    table = markdown.table(
        [*Key._fields, "score", *METRICS],
        [[*key, score, *cells] for (key, score), cells in rows.items()],
    )
    notes = {
        "command": f"{PROGRAM} {shlex.join(arguments)}",
        "seeds": sorted({seed for seeds in measured.values() for seed in seeds}),
        "scores": "mean: of all pixels, as in the paper; chosen: by the pooling, headline: by the"
        " score and pooling that tell synthetic defects from held-out normal images best in each"
        " run;"
        " calibrated: of the map in standard deviations from what held-out normal images show;"
        " MS-SSIM: SSIM at several sizes",
        "cells": "mean ± standard deviation over seeds; a gain is taken seed by seed",
        **environment(),
    }
    parts = ["\n".join(conclusion), "![Image AUROC by score](scores.png)", table]
    return markdown.page("Plain and calibrated scores", parts, notes)


def _figure(measured: Measured) -> Figure:
    """Draw the image AUROC of each score: a panel a dataset, a dot a seed, a bar at the mean."""
    panels = list(dict.fromkeys((key.data, key.images) for key in sorted(measured)))
    methods = sorted({key.method for key in measured})
    places = np.arange(len(SCORES))
    figure = Figure(figsize=(3.4 * len(panels), 4.2), layout="constrained")
    for axes, (data, images) in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        for index, method in enumerate(methods):
            seeds = measured.get(Key(data, images, method), {})
            blank = {"image_auroc": np.nan}  # of a score that the method does not have
            every = [
                [run.get(score, blank)["image_auroc"] for score in SCORES] for run in seeds.values()
            ]
            values = np.array(every)
            if len(values):
                x = places + 0.6 * ((index + 0.5) / len(methods) - 0.5)
                axes.plot(
                    np.tile(x, len(values)), values.ravel(), "o", color=f"C{index}", markersize=3
                )
                axes.plot(
                    x, values.mean(axis=0), "_", color=f"C{index}", markersize=14, label=method
                )
        axes.set_title(f"{data}, {images} images", loc="left", fontsize=9)
        axes.set_xticks(places, list(SCORES), fontsize=8, rotation=90)
        axes.set_ylabel("image AUROC")
        axes.grid(axis="y", linewidth=0.5)
        axes.legend(frameon=False)
    return figure


if __name__ == "__main__":
    command_line.run(main)

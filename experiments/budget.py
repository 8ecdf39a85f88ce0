"""`python -m experiments.budget`: image AUROC by working resolution, and by training steps."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments import markdown
from experiments.comparison import Cell, Run, figure_of
from experiments.finding import over_seeds, save_figure
from experiments.runs import run_folder, wall_seconds, writing
from experiments.study import Flags as StudyFlags
from experiments.study import one_category, train_missing
from i3ad_jax import command_line
from i3ad_jax.config import Config, Preset
from i3ad_jax.errors import InputError
from i3ad_jax.runs.environment import environment
from i3ad_jax.runs.files import read_json, write_csv, write_text
from i3ad_jax.scoring.maps import COMBINED

PROGRAM = "python -m experiments.budget"


@dataclass(frozen=True)
class Flags:
    """Measure I3AD's image AUROC (combined score) and wall time by resolution and by steps.

    Each value is a run of its own for each seed, in OUT/resolution-N or OUT/steps-N, with all other
    settings those of the preset; runs that are finished are not trained again. Write budget.csv,
    .md, .png and .svg to OUT.
    """

    out: Path
    """Folder for the runs and the results."""
    data: str
    """Training data, in any form that train takes."""
    resolution: tuple[int, ...] = ()
    """Working resolutions, as --resolution of train: the size at which the segmentation network
    sees images; tiles are cut from half of it."""
    steps: tuple[int, ...] = ()
    """Numbers of training steps."""
    seeds: tuple[int, ...] = (0,)
    """A run for each."""
    preset: Preset = "standard"
    """Settings of the runs."""


class Row(NamedTuple):
    """Time and AUROC of one value of a setting, mean and standard deviation over seeds.

    Attributes:
        setting, value: of "resolution" or "steps".
        working_size: height x width of the images, in pixels, for the segmentation network.
        seen: height x width of the images that generator inputs are cut from.
        steps: of the training.
        minutes: of training, calibration and test.
        image_auroc: of the combined score.
    """

    setting: str
    value: int
    working_size: str
    seen: str
    steps: int
    minutes: Cell
    image_auroc: Cell


def measure(planned: Mapping[Run, Config[Any, Any]], out: Path, setting: str) -> Row:
    """Train and test the runs in a plan that are missing; return the figures of all.

    Raises:
        InputError: a run cannot be trained, or its folder holds a run with other settings.
        SystemExit: on Ctrl-C or SIGTERM during training; the same command continues.
    """
    train_missing(planned, out)
    folders = [run_folder(out, run) for run in planned]
    results = [read_json(folder.results) for folder in folders]
    areas = [figure_of(own, COMBINED.name, "image_auroc") for own in results]
    sizes = results[0]["preprocessing"]
    return Row(
        setting,
        next(iter(planned.values())).flat()[setting],
        " x ".join(map(str, sizes["working_size"])),
        " x ".join(map(str, sizes["seen"])),
        results[0]["steps"],
        over_seeds([wall_seconds(folder.path) / 60 for folder in folders]),
        over_seeds([np.nan if area is None else area for area in areas]),
    )


def draw(figure: Figure, rows: Sequence[Row]) -> None:
    """Draw a panel for each setting: AUROC by minutes, each with the value of the setting."""
    settings = list(dict.fromkeys(row.setting for row in rows))
    panels = figure.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for axes, setting in zip(panels, settings, strict=True):
        own = sorted((row for row in rows if row.setting == setting), key=lambda row: row.value)
        minutes = [row.minutes.mean for row in own]
        areas = [np.nan if row.image_auroc.mean is None else row.image_auroc.mean for row in own]
        axes.errorbar(minutes, areas, yerr=[row.image_auroc.sd or 0 for row in own], fmt="o-")
        for row, *place in zip(own, minutes, areas, strict=True):
            axes.annotate(str(row.value), place, (0, 6), textcoords="offset points", fontsize=7)
        axes.margins(0.1, 0.15)
        axes.set(xlabel="minutes", ylabel="image AUROC (combined)", title=f"by {setting}")
        axes.grid(linewidth=0.5)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, trains what is missing, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    asked = {"resolution": flags.resolution, "steps": flags.steps}
    if not any(asked.values()):
        raise InputError("--resolution, --steps: name values of at least one of them")
    study = StudyFlags(flags.out, data=flags.data, seeds=flags.seeds, preset=flags.preset)
    planned = one_category(study, methods=("i3ad",))
    plans = {  # all of them first: a wrong value is refused before the first training
        (name, value): {run: config.with_settings({name: value}) for run, config in planned.items()}
        for name, values in asked.items()
        for value in values
    }
    rows = [measure(own, flags.out / "-".join(map(str, key)), key[0]) for key, own in plans.items()]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    draw(figure, rows)
    header = [*Row._fields[:5], "minutes_mean", "minutes_sd", "image_auroc_mean", "image_auroc_sd"]
    lines = [[*row[:5], *(x for cell in row[5:] for x in (cell.mean, cell.sd))] for row in rows]
    notes = {
        "command": f"{PROGRAM} {shlex.join(arguments)}",
        "seeds": flags.seeds,
        "minutes": "wall time of training, calibration and test, by a monotonic clock",
        **environment(),
    }
    parts = [markdown.table(Row._fields, rows), "![Image AUROC](budget.png)"]
    out = flags.out
    with writing(out):
        write_csv(out / "budget.csv", header, lines)
        write_text(out / "budget.md", markdown.page("Resolution and steps", parts, notes))
        save_figure(figure, out / "budget")
    print(f"\n{parts[0]}\n\n{out / 'budget.md'}\n{out / 'budget.png'}")


if __name__ == "__main__":
    command_line.run(main)

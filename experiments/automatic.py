"""`python -m experiments.automatic`: compare training's own choices with the other values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

from experiments import markdown
from experiments.comparison import BEST, HEADLINE, Cell, figure_of
from experiments.finding import Finding, difference, draw_rows, over_seeds, publish
from experiments.runs import run_folder
from experiments.study import Flags, Loaded, load_seeds, one_category, train_missing
from i3ad_jax import command_line
from i3ad_jax.errors import InputError
from i3ad_jax.runs.files import read_json

PROGRAM = "python -m experiments.automatic"
CHOSEN = "as chosen"
Choice = Literal["view", "generator", "levelling", "centre"]
VALUES: Mapping[Choice, Sequence[str]] = {
    "view": ("whole", "tiles"),
    "generator": ("two_stage", "context"),
    "levelling": ("yes", "no"),
    "centre": ("none", "colour", "image"),
}
# Name of a figure: score and metric of `results.json`.
FIGURES = {
    "image AUROC": (HEADLINE, "image_auroc"),
    "of its best score": (BEST, "image_auroc"),
    "pixel AUROC": (HEADLINE, "pixel_auroc"),
}

# Alternative: name of a figure: its value for each seed.
Measured = Mapping[str, Mapping[str, list[float]]]


@dataclass(frozen=True)
class AutomaticFlags(Flags):
    """I3AD as `train` sets it up by itself, and with its own choices changed, one at a time.

    Trains a run for each seed and alternative: minutes each. The view, the generator, brightness
    normalisation and the centring of images are compared with their other values; the selected
    score is compared with whichever score is the best on the test images.
    """

    choices: tuple[Choice, ...] = tuple(VALUES)
    """Choices to change. Tiles of large images can take an hour where whole ones take minutes."""


def choices_of(run: Loaded) -> dict[str, str]:
    """Return the value of each of `VALUES` that the run's plan chose."""
    return {name: run.detector.plan.choices[name].value for name in VALUES}


def alternatives(chosen: Mapping[str, str], choices: Sequence[Choice]) -> dict[str, dict[str, str]]:
    """Return changes of the settings by name: each value not chosen, one choice at a time."""
    return {
        f"{name} {value}": {name: value}
        for name in choices
        for value in VALUES[name]
        if value != chosen[name]
    }


def conclude(measured: Measured, chosen: Mapping[str, str]) -> str:
    """Summarise the losses of the choices to the best alternative, of the headline to the best."""
    own = measured[CHOSEN]
    best = max(measured, key=lambda name: fmean(measured[name]["image AUROC"]))
    gap = difference(measured[best]["image AUROC"], own["image AUROC"])
    lost = difference(own["of its best score"], own["image AUROC"])
    values = ", ".join(f"{name} {value}" for name, value in chosen.items())
    than = (
        "no other value of one of them does better"
        if best == CHOSEN
        else f"the best other value, {best}, does better by {gap}"
    )
    return (
        f"Chosen: {values}. Image AUROC of the headline is {over_seeds(own['image AUROC'])};"
        f" {than}. The headline is {lost} below the run's best score, which only test images"
        " tell."
    )


def draw(figure: Figure, measured: Measured) -> None:
    """A row for each alternative, with the headline's and the best score's AUROC."""
    draw_rows(
        figure.subplots(), measured, {name: name for name in ("image AUROC", "of its best score")}
    )


def report(measured: Measured, chosen: Mapping[str, str]) -> Finding:
    """The study's figure, numbers and conclusion."""
    cells = {name: [over_seeds(of[figure]) for figure in FIGURES] for name, of in measured.items()}
    rows = [[name, *line, _change(measured, name)] for name, line in cells.items()]
    return Finding(
        title="What training chooses by itself, one choice at a time",
        conclusion=conclude(measured, chosen),
        parts=[
            "Mean ± standard deviation over seeds; of the selected score, except for the best"
            " score's AUROC, which only test images tell. The change is that of the first column,"
            " seed by seed.",
            markdown.table(["alternative", *FIGURES, "change"], rows),
        ],
        header=["alternative", *(f"{name}_{part}" for name in FIGURES for part in ("mean", "sd"))],
        lines=[
            [name, *(x for cell in line for x in (cell.mean, cell.sd))]
            for name, line in cells.items()
        ],
        draw=lambda figure: draw(figure, measured),
        size=(6.5, 3.2),
    )


def _change(measured: Measured, name: str) -> str | Cell:
    """The headline's AUROC under an alternative less that of the choices."""
    if name == CHOSEN:
        return ""
    return difference(measured[name]["image AUROC"], measured[CHOSEN]["image AUROC"])


def _figures(results: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The figures of runs of one alternative."""
    found = {name: [figure_of(values, *of) for values in results] for name, of in FIGURES.items()}
    return {
        name: [np.nan if value is None else value for value in own] for name, own in found.items()
    }


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, trains what is missing, writes the files."""
    flags = command_line.parse(AutomaticFlags, arguments, program=PROGRAM)
    if flags.runs:
        raise InputError("--runs: this study trains its own runs, in OUT/runs; leave it out")
    planned = one_category(flags, methods=("i3ad",))
    train_missing(planned, flags.out)
    subject = load_seeds([run_folder(flags.out, run) for run in planned])
    chosen = choices_of(subject.runs[0])
    measured = {CHOSEN: _figures([read_json(run.folder.results) for run in subject.runs])}
    for name, changes in alternatives(chosen, flags.choices).items():
        out = flags.out / "alternatives" / name.replace(" ", "-")
        changed = {run: config.with_settings(dict(changes)) for run, config in planned.items()}
        train_missing(changed, out)
        measured[name] = _figures([read_json(run_folder(out, run).results) for run in changed])
    publish(report(measured, chosen), flags, subject, study="automatic", arguments=arguments)


if __name__ == "__main__":
    command_line.run(main)

"""`python -m experiments.choices`: vary the test-time loop where the paper leaves it open.

One choice is changed at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import markdown
from experiments.comparison import Cell
from experiments.finding import Finding, difference, draw_rows, over_seeds, publish
from experiments.study import Flags as StudyFlags
from experiments.study import Subject, folders, load_seeds, recalibrated, with_settings
from experiments.trajectories import MEAN, METRICS, SCORES, Trajectories, auroc, trajectories
from i3ad_jax import command_line
from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Split

PROGRAM = "python -m experiments.choices"
STORED = "as the runs have it"
OPEN: Mapping[str, Sequence[Any]] = {
    "base": ("previous", "original"),
    "ssim_constants": ("squared", "printed"),
    "ssim_window": ("gaussian", "uniform"),
    "ssim_score": ("distance", "half"),
    "shrink": (False, True),
    "stop_tolerance": (0.0, 0.01, 0.1),
}
# Settings that change the scores, or the images that the rule for u looks at; the others change
# when masks shrink.
NEW_U = {"base", "ssim_constants", "ssim_window", "ssim_score"}

# Choice: name of a figure: its value for each seed.
Measured = Mapping[str, Mapping[str, list[float]]]


@dataclass(frozen=True)
class Flags(StudyFlags):
    """AUROC and iterations with each choice that the paper leaves open, changed one at a time.

    Where the choice changes scores or what is inpainted, the rule chooses u again, on the run's
    held-out normal images.
    """


def choices(stored: Config) -> dict[str, dict[str, Any]]:
    """Changes of the settings: none, then one at a time, by what was changed."""
    changed = {
        f"{name} {value}".lower(): {name: value}
        for name, values in OPEN.items()
        for value in values
        if value != stored.flat()[name]
    }
    return {STORED: {}, **changed}


def measure(subject: Subject) -> Measured:
    """Tests every run under every choice."""
    data, found = subject.data, {}
    options = choices(subject.runs[0].detector.config)
    with tqdm(total=len(options) * len(subject.runs), unit="run") as progress:
        for name, changes in options.items():
            progress.set_description(name)
            for run in subject.runs:
                if changes.keys() & NEW_U:
                    detector = recalibrated(run.detector, data, **changes)
                else:
                    detector = with_settings(run.detector, **changes)
                traced = trajectories(detector, data.test.images[:])
                for figure, value in _figures(
                    data.test, detector.calibration.tuned, traced
                ).items():
                    found.setdefault(name, {}).setdefault(figure, []).append(value)
                progress.update()
    return found


def _figures(test: Split, tuned: Mapping[str, Any], traced: Trajectories) -> dict[str, float]:
    """Metrics of the states of the test images."""
    u = tuned["u"]
    figures = {"u": u, "l1_error": tuned.get("u_errors", {}).get(f"{u:.2f}", np.nan)}
    for state, label in ((-1, ""), (0, "_at_0"), (min(1, traced.masks.shape[1] - 1), "_at_1")):
        maps = {score: values[:, state] for score, values in traced.maps.items()}
        figures |= {
            f"{metric}_{score}{label}": x for (metric, score), x in auroc(test, maps).items()
        }
    for label, group in enumerate(("normal", "anomalous")):
        figures[f"iterations_{group}"] = float(traced.iterations[test.labels == label].mean())
    return figures


def conclude(measured: Measured) -> str:
    """Sentences on the choice that changes AUROC most, and on the others."""
    sentences = []
    for metric in METRICS:
        figure = f"{metric}_{MEAN}"
        changes = {
            name: difference(figures[figure], measured[STORED][figure])
            for name, figures in measured.items()
            if name != STORED
        }
        sizes = {name: abs(cell.mean) for name, cell in changes.items() if cell.mean is not None}
        if not sizes:
            continue
        first, *rest = sorted(sizes, key=lambda name: -sizes[name])
        sentences.append(
            f"{metric} AUROC, L2 and SSIM averaged, is {over_seeds(measured[STORED][figure])}"
            f" {STORED}; it changes most with {first}, by {_signed(changes[first])}"
            + (f", and by at most {sizes[rest[0]]:.3f} with any other choice." if rest else ".")
        )
    sentences.append(
        f"{STORED}, a normal image takes {over_seeds(measured[STORED]['iterations_normal'])}"
        f" iterations and an anomalous one {over_seeds(measured[STORED]['iterations_anomalous'])}."
    )
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def draw(figure: Figure, measured: Measured) -> None:
    """A row for each choice; panels of its AUROC and of its iterations."""
    panels = figure.subplots(1, len(METRICS) + 1, sharey=True)
    shown = [[f"{metric}_{score}" for score in SCORES] for metric in METRICS]
    for axes, figures in zip(
        panels, [*shown, ["iterations_normal", "iterations_anomalous"]], strict=True
    ):
        draw_rows(axes, measured, {name: name.split("_", 1)[1] for name in figures})
    for axes, title in zip(
        panels, ("image AUROC", "pixel AUROC", "iterations of an image"), strict=True
    ):
        axes.set_title(title, loc="left", fontsize=9)


def report(measured: Measured) -> Finding:
    """The study's figure, numbers and conclusion."""
    shown = {
        "u": "u",
        **{f"{metric}_{score}": f"{metric} {score}" for metric in METRICS for score in SCORES},
        f"image_{MEAN}_at_0": "image mean, iteration 0",
        f"image_{MEAN}_at_1": "iteration 1",
        f"image_{MEAN}": "all iterations",
        "iterations_normal": "iterations, normal",
        "iterations_anomalous": "iterations, anomalous",
    }
    rows, mean = [], f"image_{MEAN}"
    for name, figures in measured.items():
        change = (
            "" if name == STORED else _signed(difference(figures[mean], measured[STORED][mean]))
        )
        rows.append([name, *(over_seeds(figures[key]) for key in shown), change])
    keys = list(measured[STORED])
    cells = {name: [over_seeds(figures[key]) for key in keys] for name, figures in measured.items()}
    return Finding(
        title="What the paper leaves open, one choice at a time",
        conclusion=conclude(measured),
        parts=[
            "Mean ± standard deviation over seeds; AUROC after all iterations unless a column says"
            " otherwise. The change is that of the column before, seed by seed.",
            markdown.table(["choice", *shown.values(), "change of image mean"], rows),
        ],
        header=["choice", *(f"{key}_{part}" for key in keys for part in ("mean", "sd"))],
        lines=[
            [name, *(x for cell in line for x in (cell.mean, cell.sd))]
            for name, line in cells.items()
        ],
        draw=lambda figure: draw(figure, measured),
        size=(10, 4.2),
    )


def _signed(cell: Cell) -> str:
    return "-" if cell.mean is None else ("+" if cell.mean >= 0 else "") + str(cell)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    subject = load_seeds(folders(flags))
    publish(report(measure(subject)), flags, subject, study="choices", arguments=arguments)


if __name__ == "__main__":
    command_line.run(main)

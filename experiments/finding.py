"""Result of a study, as files: a figure, its numbers, and a page with the conclusion."""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import markdown
from experiments.comparison import Cell
from experiments.runs import writing
from experiments.study import Flags, Subject
from i3ad_jax.runs.files import write_csv, write_text

_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "i3ad_jax",
}
_DIGITS = 6  # of the numbers in CSV files


@dataclass(frozen=True)
class Finding:
    """Result of a study.

    Attributes:
        title: of its page.
        conclusion: a few sentences with the numbers in them.
        parts: of the page, below the conclusion and the figure.
        header, lines: of the CSV file.
        draw: puts the figure's panels on an empty one.
        size: width and height of the figure in inches.
    """

    title: str
    conclusion: str
    parts: Sequence[str]
    header: Sequence[str]
    lines: Sequence[Sequence[Any]]
    draw: Callable[[Figure], None]
    size: tuple[float, float]


def over_seeds(values: Sequence[float]) -> Cell:
    """Mean and standard deviation over seeds; an empty cell where a seed has no value."""
    if not np.isfinite(values).all():
        return Cell()
    return Cell(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def difference(values: Sequence[float], others: Sequence[float]) -> Cell:
    """Mean and standard deviation of a figure less another, seed by seed."""
    return over_seeds(np.subtract(values, others).tolist())


def draw_rows(
    axes: Axes, measured: Mapping[str, Mapping[str, Sequence[float]]], labels: Mapping[str, str]
) -> None:
    """Draw a row for each key of `measured`, from the top: the figures in `labels`, over seeds."""
    place = np.arange(len(measured))[::-1]
    for shift, (name, label) in zip((0.12, -0.12), labels.items(), strict=True):
        values = np.array([figures[name] for figures in measured.values()])
        sd = values.std(axis=1, ddof=1) if values.shape[1] > 1 else None
        axes.errorbar(
            values.mean(axis=1), place + shift, xerr=sd, fmt="o", markersize=4, label=label
        )
    axes.set_yticks(place, list(measured))
    axes.legend(fontsize=7)


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure to STEM.png, and without the date to STEM.svg."""
    figure.savefig(stem.with_suffix(".png"), dpi=110)
    figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})


def publish(
    finding: Finding, flags: Flags, subject: Subject, *, study: str, arguments: Sequence[str]
) -> None:
    """Writes OUT/STUDY.png, .svg, .csv and .md, and prints the conclusion.

    Raises:
        InputError: OUT cannot be written to.
    """
    out, title = flags.out, finding.title
    lines = [
        [round(x, _DIGITS) if isinstance(x, float) else x for x in line] for line in finding.lines
    ]
    with writing(out):
        with matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=finding.size, layout="constrained")
            finding.draw(figure)
            save_figure(figure, out / study)
        write_csv(out / f"{study}.csv", finding.header, lines)
        notes = {
            "command": f"python -m experiments.{study} {shlex.join(arguments)}",
            **_circumstances(subject),
            "wall time, training aside": timedelta(
                seconds=round(time.perf_counter() - subject.start)
            ),
            **subject.machine,
        }
        text = [finding.conclusion, f"![{title}]({study}.png)", *finding.parts]
        write_text(out / f"{study}.md", markdown.page(title, text, notes))
    print(f"\n{finding.conclusion}\n\n{out / f'{study}.md'}\n{out / f'{study}.png'}")


def _circumstances(subject: Subject) -> dict[str, Any]:
    """Description of the runs behind a figure."""
    detectors = [run.detector for run in subject.runs]
    bases = [x.config.flat()["base"] for x in detectors if x.config.method == "i3ad"]
    return {
        "data": subject.name,
        "image size": " x ".join(map(str, detectors[0].preprocessing.size)),
        "side of the squares that networks see": detectors[0].preprocessing.side,
        "test images": len(subject.data.test),
        "runs": [f"{x.config.method} seed {x.config.seed}" for x in detectors],
        **({"base": bases[0]} if bases else {}),
        "training steps": [*dict.fromkeys(x.calibration.step for x in detectors)],
        "u": [x.calibration.tuned["u"] for x in detectors if "u" in x.calibration.tuned],
        "trained at commit": [*dict.fromkeys(run.commit for run in subject.runs)],
    }

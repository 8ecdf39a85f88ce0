"""`python -m experiments.exponents`: the combined score by the exponent of its weights."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from experiments import markdown
from experiments.runs import writing
from experiments.scores import find_runs
from i3ad_jax import command_line
from i3ad_jax.calibration.fusion import SHARPNESS, Fusion, weights
from i3ad_jax.errors import InputError
from i3ad_jax.runs.environment import environment
from i3ad_jax.runs.files import read_array, write_csv, write_text
from i3ad_jax.runs.results import read_results
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.maps import image_scores
from i3ad_jax.scoring.metrics import image_auroc

PROGRAM = "python -m experiments.exponents"
EXPONENTS = (0, 1, 2, 3, 4, 6, 8)


@dataclass(frozen=True)
class Flags:
    """Measure finished runs by other exponents of the combined score's weights.

    The exponent for each data set is the one with the highest mean image AUROC on the others. Write
    exponents.csv and exponents.md to OUT.
    """

    runs: tuple[Path, ...]
    """Runs, or folders in which to look for them, of at least two data sets."""
    out: Path
    """Folder for the results."""


class Measured(NamedTuple):
    """Image AUROC of a run.

    Attributes:
        by_exponent: of the combined score, in the order of `EXPONENTS`.
        best: of its best single score, which only test images reveal.
        picked: of the part that finds most synthetic defects.
    """

    by_exponent: tuple[float, ...]
    best: float
    picked: float


class Row(NamedTuple):
    """A data set's means over its runs, with the exponent chosen on the others."""

    data: str
    runs: int
    exponent: int
    combined: float
    by_default: float
    picked: float
    best: float
    gap: float


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures the runs, writes both files, prints the conclusion."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    measured: dict[str, list[Measured]] = {}
    for folder in tqdm(find_runs(flags.runs), unit="run"):
        data, found = measure(folder)
        measured.setdefault(data, []).append(found)
    if len(measured) < 2:
        raise InputError("--runs: of one data set only; the exponent is chosen on the others")
    rows = left_out(measured)
    gaps = [row.gap for row in rows]
    conclusion = (
        f"With the exponent chosen on the other data sets the combined score's image AUROC is"
        f" {np.mean(gaps):.3f} below that of the best single score on average,"
        f" {max(gaps):.3f} at worst. By default the exponent is {SHARPNESS}."
    )
    with writing(flags.out):
        write_csv(flags.out / "exponents.csv", Row._fields, rows)
        page = _page(conclusion, rows, measured, arguments)
        write_text(flags.out / "exponents.md", page)
    print(f"\n{conclusion}\n\n{flags.out / 'exponents.md'}")


def measure(folder: RunFolder) -> tuple[str, Measured]:
    """Return the data set of a run and what was measured.

    Raises:
        InputError: a file cannot be read, or the run has no weights.
    """
    run = read_results(folder)
    results = run.results
    if not results.get("fusion"):
        raise InputError(f"{folder.results}: has no weights; evaluate the run again")
    fusion = Fusion.from_json(results["fusion"])
    maps = {name: read_array(folder.maps / f"{name}.npy") for name in fusion.parts}
    scores = {name: image_scores(maps[name], part.pooling) for name, part in fusion.parts.items()}
    auroc = {
        name: results["planted_auroc"][name][part.pooling] for name, part in fusion.parts.items()
    }

    def area(values: np.ndarray) -> float:
        return image_auroc(run.labels, values) or np.nan

    single = [area(values) for values in (*scores.values(), *run.scores.values())]
    picked = max(auroc, key=auroc.__getitem__)
    by_exponent = (area(_combined(fusion, scores, auroc, exponent)) for exponent in EXPONENTS)
    return results["data"], Measured(tuple(by_exponent), max(single), area(scores[picked]))


def _combined(
    fusion: Fusion,
    scores: Mapping[str, np.ndarray],
    auroc: Mapping[str, float],
    exponent: int,
) -> np.ndarray:
    weight = weights(auroc, exponent=exponent)
    parts = [weight[name] * part.score.apply(scores[name]) for name, part in fusion.parts.items()]
    return np.sum(parts, axis=0)


def left_out(measured: Mapping[str, Sequence[Measured]]) -> list[Row]:
    """Return a row for each data set, with the exponent that is best on the others."""
    means = {
        data: np.mean([run.by_exponent for run in runs], axis=0) for data, runs in measured.items()
    }
    rows = []
    for data, runs in measured.items():
        others = np.mean([own for other, own in means.items() if other != data], axis=0)
        chosen = int(np.argmax(others))
        best = float(np.mean([run.best for run in runs]))
        combined = float(means[data][chosen])
        rows.append(
            Row(
                data=data,
                runs=len(runs),
                exponent=EXPONENTS[chosen],
                combined=combined,
                by_default=float(means[data][EXPONENTS.index(SHARPNESS)]),
                picked=float(np.mean([run.picked for run in runs])),
                best=best,
                gap=best - combined,
            )
        )
    return rows


def _page(
    conclusion: str,
    rows: Sequence[Row],
    measured: Mapping[str, Sequence[Measured]],
    arguments: Sequence[str],
) -> str:
    lines = [[*row[:3], *(f"{value:.3f}" for value in row[3:])] for row in rows]
    by_exponent = [
        [data, *(f"{x:.3f}" for x in np.mean([run.by_exponent for run in runs], axis=0))]
        for data, runs in measured.items()
    ]
    parts = [
        conclusion,
        markdown.table(Row._fields, lines),
        "Image AUROC of the combined score by the exponent:",
        markdown.table(["data", *map(str, EXPONENTS)], by_exponent),
    ]
    notes = {
        "command": f"{PROGRAM} {shlex.join(arguments)}",
        "exponent": "of the weights (2 A - 1)**k, chosen on the other data sets",
        "by_default": f"with k = {SHARPNESS}",
        "picked": "the part that finds most synthetic defects, alone",
        "best": "the best single score, which only test images reveal",
        **environment(),
    }
    return markdown.page("Weights of the combined score", parts, notes)


if __name__ == "__main__":
    command_line.run(main)

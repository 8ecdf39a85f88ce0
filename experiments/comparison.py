"""Tables of the results of runs beside the paper's; trains nothing and reads no run."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from experiments import markdown
from experiments.categories import PAPER_ROWS
from i3ad_jax.scoring.maps import SCORES

# Name in the tables: name in results.json.
METRICS = {"image_auroc": "image_auroc", "pixel_auroc": "pixel_auroc", "aupro": "pixel_aupro"}
_NAMES = ("category", "method", "score")
# Besides the scores themselves: the one that a run chose without test images, and the best one.
HEADLINE, BEST = "headline", "best"


@dataclass(frozen=True)
class Run:
    """One method, trained once on one category."""

    category: str
    method: str
    seed: int

    def __str__(self) -> str:
        return f"{self.category} {self.method} seed {self.seed}"


# What `results.json` of each finished run holds.
Results = Mapping[Run, Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """Table of the paper: its title, its metric and its columns, pairs of method and score."""

    title: str
    metric: str
    columns: tuple[tuple[str, str], ...]


_AUTOENCODERS = tuple(
    (method, score)
    for method in ("l2_ae", "ssim_ae", "l2_ae_projection", "ssim_ae_projection", "i3ad", "pca")
    for score in ("l2", "ssim")
)
_GANS = tuple(
    (method, score)
    for method in ("anogan", "f_anogan", "aegan", "i3ad")
    for score in ("l2", "ssim", "l2_ld")
    if score != "l2_ld" or method in ("f_anogan", "aegan")
)
TABLES = {
    1: Table("Image AUROC: autoencoders, iterative projection, I3AD", "image_auroc", _AUTOENCODERS),
    3: Table("Pixel AUROC: autoencoders, iterative projection, I3AD", "pixel_auroc", _AUTOENCODERS),
    4: Table("Image AUROC: adversarial methods, I3AD", "image_auroc", _GANS),
    5: Table(
        "Pixel AUROC: adversarial methods, I3AD",
        "pixel_auroc",
        tuple(c for c in _GANS if c[1] != "l2_ld"),
    ),
}


@dataclass(frozen=True)
class Cell:
    """Mean over seeds, its standard deviation, and the paper's figure; None where missing."""

    mean: float | None = None
    sd: float | None = None
    paper: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.mean is None or self.paper is None else self.mean - self.paper

    def __str__(self) -> str:
        if self.mean is None:
            return "-"
        spread = "" if self.sd is None else f" ± {self.sd:.3f}"
        paper = "" if self.difference is None else f" ({self.paper:.3f}, {self.difference:+.3f})"
        return f"{self.mean:.3f}{spread}{paper}"


def compare(
    results: Results,
    row: str,
    members: Sequence[str],
    *,
    method: str,
    score: str,
    metric: str,
    table: int = 0,
) -> Cell:
    """One cell of a table: the mean over those of its row's categories that were measured.

    Args:
        results: of the finished runs.
        row: its name.
        members: its categories, of `table_rows`.
        method, score, metric: content of the cell, as `results.json` names it; a score may be
            `HEADLINE` or `BEST`, another one in each run.
        table: the paper's table to compare with; 0 for none.
    """
    measured: dict[str, dict[int, float]] = {}
    for run, values in results.items():
        value = figure_of(values, score, metric)
        if run.method == method and run.category in members and value is not None:
            measured.setdefault(run.category, {})[run.seed] = value
    if not measured:
        return Cell()
    mean = fmean(fmean(seeds.values()) for seeds in measured.values())
    # A seed that lacks a category has another mean for that alone: it would pass for spread.
    complete = set.intersection(*(set(seeds) for seeds in measured.values()))
    means = [fmean(seeds[seed] for seeds in measured.values()) for seed in complete]
    sd = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return Cell(mean, sd, _paper_mean(row, measured, key=(table, method, score)))


def table_csv(
    number: int, results: Results, rows: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[list[Any]]]:
    """Header and lines of a table's CSV file: four columns for each of the table's columns."""
    header = ["category"]
    for method, score in TABLES[number].columns:
        header += [f"{method}_{score}_{part}" for part in ("mean", "sd", "paper", "difference")]
    lines = []
    for row, cells in _cells(number, results, rows).items():
        parts = ((cell.mean, cell.sd, cell.paper, cell.difference) for cell in cells)
        lines.append([row, *(part for four in parts for part in four)])
    return header, lines


def table_markdown(
    number: int, results: Results, rows: Mapping[str, Sequence[str]], notes: Mapping[str, Any]
) -> str:
    """A table as Markdown, the notes below it."""
    header = ["category", *(f"{method} {score}" for method, score in TABLES[number].columns)]
    lines = [[row, *cells] for row, cells in _cells(number, results, rows).items()]
    return markdown.page(
        f"Table {number}. {TABLES[number].title}", [markdown.table(header, lines)], notes
    )


def all_methods_csv(
    results: Results, rows: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[list[Any]]]:
    """Return header and lines of a CSV file of all measured methods, scores and `METRICS`."""
    figures = [f"{name}_{part}" for name in METRICS for part in ("mean", "sd")]
    lines = [
        [*names, *(part for cell in cells for part in (cell.mean, cell.sd))]
        for names, cells in _all_cells(results, rows)
    ]
    return [*_NAMES, *figures], lines


def all_methods_markdown(
    results: Results, rows: Mapping[str, Sequence[str]], notes: Mapping[str, Any]
) -> str:
    """The same as Markdown, the notes below it."""
    lines = [[*names, *cells] for names, cells in _all_cells(results, rows)]
    return markdown.page("All methods", [markdown.table([*_NAMES, *METRICS], lines)], notes)


@cache
def paper_values() -> dict[tuple[int, str, str, str], float]:
    """Return the AUROC that the paper prints, by table, row, method and score.

    Cells that the paper leaves empty are missing.
    """
    with Path(__file__).with_name("paper_values.csv").open(newline="", encoding="utf-8") as file:
        return {
            (int(line["table"]), line["category"], line["method"], line["score"]): float(
                line["auroc"]
            )
            for line in csv.DictReader(file)
        }


def _cells(
    number: int, results: Results, rows: Mapping[str, Sequence[str]]
) -> dict[str, list[Cell]]:
    """The cells of each row of a table."""
    table = TABLES[number]
    return {
        row: [
            compare(
                results, row, members, method=method, score=score, metric=table.metric, table=number
            )
            for method, score in table.columns
        ]
        for row, members in rows.items()
    }


def figure_of(values: Mapping[str, Any], score: str, metric: str) -> float | None:
    """A figure of a run, None where it has none."""
    scores = values["scores"]
    if score == BEST:
        measured = [own[metric] for own in scores.values() if own.get(metric) is not None]
        return max(measured, default=None)
    name = values.get("headline") if score == HEADLINE else score
    return scores.get(name, {}).get(metric)


def _paper_mean(row: str, categories: Iterable[str], *, key: tuple[int, str, str]) -> float | None:
    """Return the paper's figure for the same categories: printed, or else the mean of printed ones.

    None where the paper lacks one of them.
    """
    table, method, score = key
    printed = paper_values().get((table, row, method, score))
    if printed is not None and set(categories) == set(PAPER_ROWS.get(row, (row,))):
        return printed
    values = [paper_values().get((table, name, method, score)) for name in categories]
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _all_cells(
    results: Results, rows: Mapping[str, Sequence[str]]
) -> list[tuple[tuple[str, str, str], list[Cell]]]:
    """Return row, method and score with their cells of `METRICS`, where they have a figure."""
    lines = []
    methods = dict.fromkeys(run.method for run in results)
    for (row, members), method, score in product(rows.items(), methods, (HEADLINE, BEST, *SCORES)):
        cells = [
            compare(results, row, members, method=method, score=score, metric=metric)
            for metric in METRICS.values()
        ]
        if any(cell.mean is not None for cell in cells):
            lines.append(((row, method, score), cells))
    return lines

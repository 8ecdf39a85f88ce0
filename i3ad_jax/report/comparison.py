"""Page that compares runs: scores, settings that differ, images on which they disagree."""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from i3ad_jax.errors import InputError
from i3ad_jax.report import charts
from i3ad_jax.report.page import render, setting_text
from i3ad_jax.report.thumbnails import Thumbnail
from i3ad_jax.runs.run_results import RunResults
from i3ad_jax.scoring.metrics import roc_points

METRICS = ("image_auroc", "pixel_auroc", "pixel_aupro")
HEADLINE = "headline"  # in the tables of seeds: the score that each run names


@dataclass(frozen=True)
class Spread:
    """A metric over runs that differ by seed only; None where a run has no such value.

    Attributes:
        mean: arithmetic mean.
        sd: sample standard deviation (n - 1).
    """

    mean: float | None
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread":
        """Standard deviation of at least two values."""
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return cls(None, None)
        return cls(float(np.mean(known)), float(np.std(known, ddof=1)))


def check_comparable(runs: Sequence[RunResults]) -> None:
    """Raises InputError unless all runs are different ones, tested on the same images.

    The images are known by their paths and classes, and by the SHA-256 of their content where two
    runs have brought them to the same size.
    """
    first = runs[0]
    for before, run in itertools.combinations(runs, 2):
        if os.path.realpath(before.name) == os.path.realpath(run.name):
            raise InputError(f"{run.name}: is named twice; name different runs")
    for run in runs[1:]:
        listed = [sorted(zip(r.paths, r.defects, strict=True)) for r in (first, run)]
        sizes = [r.results["preprocessing"].get("working_size") for r in (first, run)]
        digests = [r.results["data_digest"] for r in (first, run)]
        if listed[0] != listed[1] or (sizes[0] == sizes[1] and digests[0] != digests[1]):
            raise InputError(
                f"{run.name}: was tested on other images ({run.results['data_source']}) than"
                f" {first.name} ({first.results['data_source']}); compare runs with the same test"
                " images"
            )


def comparison_page(
    runs: Sequence[RunResults],
    *,
    reports: Sequence[str | None],
    pictures: Sequence[Mapping[str, Thumbnail]] = (),
    missing: Sequence[str] = (),
) -> str:
    """The comparison as HTML.

    Args:
        runs: at least two that `check_comparable` takes, in the order of the page.
        reports: the path of each run's own report, seen from the page; None if there is none.
        pictures: of each run, pictures of images on which the runs disagree, by path.
        missing: parts that could not be put on the page, a sentence each.
    """
    return render(
        "comparison.html.jinja",
        runs=runs,
        reports=[
            None if path is None else quote(path, errors="surrogateescape") for path in reports
        ],
        metric_names=METRICS,
        kinds=list(dict.fromkeys(kind for run in runs for kind in run.results["scores"])),
        differing=differing_settings(runs),
        seeds=[(own, _spreads([runs[i] for i in own])) for own in same_but_for_seed(runs)],
        roc_charts=_roc_chart(runs),
        found_alone=found_alone(runs),
        disagreements=[
            row | {"pictures": _pictures_of(row["path"], pictures)} for row in disagreements(runs)
        ],
        missing=missing,
    )


def _pictures_of(
    path: str, pictures: Sequence[Mapping[str, Thumbnail]]
) -> list[Thumbnail | None] | None:
    """Return the picture of an image by each run; None if none has one."""
    found = [own.get(path) for own in pictures]
    return found if any(found) else None


def differing_settings(runs: Sequence[RunResults]) -> dict[str, list[str | None]]:
    """Return each run's value, as JSON, of each setting that differs; None where it has none."""
    settings = [{name: setting_text(value) for name, value in run.settings.items()} for run in runs]
    names = dict.fromkeys(name for own in settings for name in own)
    values = {name: [own.get(name) for own in settings] for name in names}
    return {name: own for name, own in values.items() if any(value != own[0] for value in own)}


def same_but_for_seed(runs: Sequence[RunResults]) -> list[list[int]]:
    """Positions of runs, two or more in a group, whose settings differ by seed at most.

    The number of images computed at once changes no result, so it does not count as a difference.
    """
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        kept = {
            name: value
            for name, value in sorted(run.settings.items())
            if name != "seed" and not name.startswith("throughput.")
        }
        groups.setdefault(repr(kept), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def found_alone(runs: Sequence[RunResults]) -> list[list[int]]:
    """Numbers of anomalous images that the run of the row finds and that of the column misses."""
    found = [run_found(run) for run in runs]
    return [[len(own - other) for other in found] for own in found]


def run_found(run: RunResults) -> set[str]:
    """Return the paths of the anomalous images that a run's selected score finds by default.

    That is at its default threshold.
    """
    outcomes = zip(run.paths, run.outcomes(run.headline), strict=True)
    return {path for path, outcome in outcomes if outcome == "found"}


def disagreements(runs: Sequence[RunResults]) -> list[dict[str, Any]]:
    """The images that some runs flag and others do not, those first on which most runs are wrong.

    Each has "path", "defect", "wrong" (a number of runs), and by run "outcomes" and "scores" of the
    headline.
    """
    outcomes = [dict(zip(run.paths, run.outcomes(run.headline), strict=True)) for run in runs]
    scores = [dict(zip(run.paths, run.scores[run.headline].tolist(), strict=True)) for run in runs]
    rows = []
    for path, defect in zip(runs[0].paths, runs[0].defects, strict=True):
        own = [of_run[path] for of_run in outcomes]
        if len(set(own)) > 1:
            wrong = sum(outcome in ("missed", "false alarm") for outcome in own)
            values = [of_run[path] for of_run in scores]
            rows.append(
                {"path": path, "defect": defect, "wrong": wrong, "outcomes": own, "scores": values}
            )
    return sorted(rows, key=lambda row: -row["wrong"])


def _spreads(runs: Sequence[RunResults]) -> dict[str, list[Spread]]:
    """Spread of each of `METRICS` by score; first that of the selected score of each run."""
    kinds = dict.fromkeys([HEADLINE, *runs[0].results["scores"]])
    return {
        kind: [
            Spread.of(
                [
                    run.results["scores"][run.headline if kind == HEADLINE else kind][m]
                    for run in runs
                ]
            )
            for m in METRICS
        ]
        for kind in kinds
    }


def _roc_chart(runs: Sequence[RunResults]) -> dict[str, Markup]:
    """Return the SVG of each run's headline ROC curve, by title, if images have both classes."""
    curves = {}
    for number, run in enumerate(runs, start=1):
        points = roc_points(run.labels, run.scores[run.headline])
        if points is not None:
            auroc = run.results["scores"][run.headline]["image_auroc"]
            curves[f"run {number} (AUROC {auroc:.3f})"] = points
    title = "ROC curves of the selected scores"
    return {title: Markup(charts.roc_chart(curves, title=title))} if curves else {}

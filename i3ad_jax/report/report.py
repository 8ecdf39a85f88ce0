"""Report of a run: one page of its verdict, its instructive cases, numbers and charts.

The file opens without a network: styles, scripts, charts and pictures are all inside it, and its
own content security policy forbids it to load anything. The page is `templates/report.html.jinja`.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from i3ad_jax.calibration.thresholds import DEFECT_QUANTILE
from i3ad_jax.pictures import OPACITY, colour_stops, heat_tables
from i3ad_jax.report import charts
from i3ad_jax.report.cases import Case, case_view
from i3ad_jax.report.distribution import distribution
from i3ad_jax.report.enlarged import Enlarged
from i3ad_jax.report.page import render
from i3ad_jax.report.thumbnails import BUDGET, Thumbnail
from i3ad_jax.runs.run_results import RunResults, flatten
from i3ad_jax.scoring.maps import SCORES
from i3ad_jax.scoring.metrics import roc_points
from i3ad_jax.scoring.rates import Rate

_NUM_WORST = 3


class Origin(NamedTuple):
    """Origin of a run's results.

    Attributes:
        plan: lines that describe it.
        training: rows of `metrics.jsonl`.
        environment: versions, device and command, nested.
        num_trained: number of images that were trained on.
        num_calibrated: number of calibration images.
    """

    plan: Sequence[str]
    training: Sequence[Mapping[str, Any]]
    environment: Mapping[str, Any]
    num_trained: int
    num_calibrated: int


class Pictures(NamedTuple):
    """Pictures of test images by their position.

    Attributes:
        small: of as many images as fit a budget.
        large: of all cases, and of more images.
    """

    small: Mapping[int, Thumbnail] = {}
    large: Mapping[int, Enlarged] = {}


def report_page(
    run: RunResults,
    *,
    origin: Origin,
    states: Sequence[str] = (),
    cases: Sequence[Case] = (),
    pictures: Pictures | None = None,
    missing: Sequence[str] = (),
) -> str:
    """The report as HTML.

    Args:
        run: results, settings and scores; any metric may be None.
        origin: plan, training and environment; every column of floats of the training gets a chart.
        states: name of each state of a case's reconstructions.
        cases: the images to show large, in order; neighbours of one group share a heading.
        pictures: of the cases and of other test images; needed where there are cases.
        missing: parts that could not be put in this report, a sentence each.
    """
    vmax = SCORES[run.headline].heat_limit
    threshold = run.results.get("pixel_threshold")  # older results have none
    pictures = pictures or Pictures()
    views = [case_view(case, pictures.large[case.index]) for case in cases]
    return render(
        "report.html.jinja",
        run=run,
        results=run.results,
        confusion=run.confusion(run.headline),
        outcomes={kind: run.outcomes(kind) for kind in run.scores},
        wrong_by_class=_wrong_by_class(run),
        worst=_worst(run),
        default_quantile=DEFECT_QUANTILE,
        distributions={
            kind: distribution(run.labels, values, threshold=run.threshold(kind))
            for kind, values in run.scores.items()
        },
        groups=[
            (name, list(own))
            for name, own in itertools.groupby(views, key=lambda view: view["group"])
        ],
        states=list(states),
        last_step=max((len(case.masks) for case in cases), default=1) - 1,
        pictures=pictures.small,
        large=pictures.large,
        picture_budget=BUDGET,
        values={
            "labels": run.labels.tolist(),
            "scores": {kind: values.tolist() for kind, values in run.scores.items()},
        },
        vmax=vmax,
        pixel_threshold=threshold,
        colour_stops=colour_stops(),
        heat_tables=heat_tables(),
        opacity=OPACITY,
        roc_charts=_roc_chart(run),
        training_charts=_training_charts(origin.training),
        origin=origin,
        environment=flatten(origin.environment),
        missing=missing,
    )


def _wrong_by_class(run: RunResults) -> dict[str, Rate]:
    """Rate of wrong decisions by the selected score, of each class that has test images."""
    wrong, defects = run.flagged(run.headline) != (run.labels == 1), np.array(run.defects)
    masks = {name: defects == name for name in dict.fromkeys(run.defects)}
    return {name: Rate.of(int(wrong[own].sum()), int(own.sum())) for name, own in masks.items()}


def _worst(run: RunResults) -> dict[str, list[int]]:
    """Positions of the worst missed images and false alarms by the headline, the worst first."""
    outcomes = run.outcomes(run.headline)
    order = np.argsort(run.margins(run.headline), kind="stable").tolist()
    return {
        outcome: [index for index in order if outcomes[index] == outcome][:_NUM_WORST]
        for outcome in ("missed", "false alarm")
    }


def _roc_chart(run: RunResults) -> dict[str, Markup]:
    """SVG of the ROC curves by its title, if there are images of both classes."""
    curves = {}
    for kind, values in run.scores.items():
        points = roc_points(run.labels, values)
        if points is not None:
            auroc = run.results["scores"][kind]["image_auroc"]
            curves[f"{SCORES[kind].label} (AUROC {auroc:.3f})"] = points
    title = "ROC curves of the image scores"
    return {title: Markup(charts.roc_chart(curves, title=title))} if curves else {}


def _training_charts(training: Sequence[Mapping[str, Any]]) -> dict[str, Markup]:
    """SVG by title of each column of floats, in the order in which the columns first appear."""
    names = dict.fromkeys(
        name for row in training for name, value in row.items() if isinstance(value, float)
    )
    names.pop("steps_per_second", None)
    steps = np.array([row["step"] for row in training], np.float64)
    panels = {}
    for name in names:
        values = np.array([row.get(name, np.nan) for row in training], np.float64)
        title = name.replace("_", " ")
        panels[title] = Markup(charts.training_chart(steps, values, title=title))
    return panels

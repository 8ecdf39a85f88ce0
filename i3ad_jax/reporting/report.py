"""The report of a run: one HTML file that shows its numbers, its charts and its instructive cases.

The file opens without a network: styles, script, charts and pictures are all inside it, and its own
content security policy forbids it to load anything. The page is `report.html.jinja` beside this module.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from markupsafe import Markup
from PIL import Image

from i3ad_jax.reporting import charts, figures
from i3ad_jax.scoring.maps import SCORES
from i3ad_jax.scoring.metrics import roc_points

# Up to this side pictures are stored without loss and shown enlarged, pixel by pixel.
_SMALL_SIDE = 128
_MIN_SHOWN_SIDE = 192


@dataclass(frozen=True)
class Case:
    """One test image with everything that the refinement made of it.

    Attributes:
        path: where the image came from.
        defect: its defect class.
        label: 0 for a normal image, 1 for an anomalous one.
        group: heading under which the report shows it; see `choose_cases`.
        scores: image score by kind.
        image: uint8 RGB.
        truth: True on defective pixels; None if the image came without a mask.
        anomaly_map: the pixels' scores after the last iteration.
        reconstructions: uint8 RGB, the states of the test-time loop, the last one last.
        masks: True where the reconstruction of the same index was inpainted; all True for the first.
    """

    path: str
    defect: str
    label: int
    group: str
    scores: dict[str, float]
    image: UInt8[np.ndarray, "h w 3"]
    truth: Bool[np.ndarray, "h w"] | None
    anomaly_map: Float[np.ndarray, "h w"]
    reconstructions: UInt8[np.ndarray, "t h w 3"]
    masks: Bool[np.ndarray, "t h w"]


def choose_cases(
    labels: Integer[np.ndarray, " n"], scores: Float[np.ndarray, " n"], *, count: int
) -> list[tuple[int, str]]:
    """Index and group of at most `count` images, none twice: the worst and the best of each class.

    The four groups take turns, each with the image that is next in its order, until `count` images
    are chosen or none is left. Of equal scores the image that comes first is taken first.
    """
    order = np.argsort(scores, kind="stable").tolist()
    lowest = {label: [i for i in order if labels[i] == label] for label in (0, 1)}
    order = np.argsort(-scores, kind="stable").tolist()
    highest = {label: [i for i in order if labels[i] == label] for label in (0, 1)}
    groups = {
        "Anomalous, lowest scores: the likeliest misses": lowest[1],
        "Normal, highest scores: the likeliest false alarms": highest[0],
        "Anomalous, highest scores: the surest finds": highest[1],
        "Normal, lowest scores: the quietest": lowest[0],
    }
    chosen: dict[int, str] = {}
    for turn in itertools.zip_longest(*groups.values()):
        for group, index in zip(groups, turn, strict=True):
            if index is not None and len(chosen) < count:
                chosen.setdefault(index, group)
    rank = list(groups)
    return sorted(chosen.items(), key=lambda item: rank.index(item[1]))


def write_report(
    path: Path,
    *,
    results: dict[str, Any],
    config: dict[str, Any],
    environment: dict[str, Any],
    training: list[dict[str, Any]],
    labels: Integer[np.ndarray, " n"],
    scores: dict[str, Float[np.ndarray, " n"]],
    states: Sequence[str],
    cases: list[Case],
) -> None:
    """Writes the report to `path`; an older one stays whole until the new one is complete.

    Args:
        path: the HTML file.
        results: what results.json holds; any metric may be None.
        config: the run's settings, nested.
        environment: versions, device and the like.
        training: the rows of metrics.jsonl; every column of floats gets a chart.
        labels: 0 for each normal test image, 1 for each anomalous one.
        scores: the test images' scores by kind.
        states: what each state of a case's reconstructions is called.
        cases: the images to show, in order; neighbours of one group share a heading.
    """
    vmax = max((float(case.anomaly_map.max()) for case in cases), default=0.0)
    groups = itertools.groupby(cases, key=lambda case: case.group)
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.jinja")
    html = template.render(
        results=results,
        score_labels={name: score.label for name, score in SCORES.items()},
        thresholds=results.get("thresholds") or {},
        charts=_score_charts(labels, scores, results),
        training_charts=_training_charts(training),
        groups=[(name, [_view(case, vmax) for case in group]) for name, group in groups],
        states=states,
        last_step=max((len(case.masks) for case in cases), default=1) - 1,
        vmax=vmax,
        colour_stops=figures.colour_stops(),
        settings=_flatten(config),
        environment=_flatten(environment),
    )
    temporary = path.with_name(path.name + ".tmp")
    # A file name that is not valid Unicode reaches here as surrogates, which UTF-8 cannot hold.
    temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)


def _score_charts(labels: np.ndarray, scores: dict[str, np.ndarray], results: dict) -> dict[str, Markup]:
    """SVG by title: the ROC curves, then each kind's distribution."""
    thresholds = results.get("thresholds") or {}
    curves = {}
    for kind, values in scores.items():
        points = roc_points(labels, values)
        if points is not None:
            curves[f"{SCORES[kind].label} (AUROC {results['scores'][kind]['image_auroc']:.3f})"] = points
    panels = {}
    if curves:
        title = "ROC curves of the image scores"
        panels[title] = Markup(charts.roc_chart(curves, title=title))
    for kind, values in scores.items():
        title = f"{SCORES[kind].label} scores of the test images"
        panels[title] = Markup(
            charts.score_chart(labels, values, title=title, threshold=thresholds.get(kind))
        )
    return panels


def _training_charts(training: list[dict]) -> dict[str, Markup]:
    """SVG by title of each column of floats, in the order in which the columns first appear."""
    names = dict.fromkeys(name for row in training for name, value in row.items() if isinstance(value, float))
    names.pop("steps_per_second", None)
    steps = np.array([row["step"] for row in training], np.float64)
    panels = {}
    for name in names:
        values = np.array([row.get(name, np.nan) for row in training], np.float64)
        title = name.replace("_", " ")
        panels[title] = Markup(charts.training_chart(steps, values, title=title))
    return panels


def _view(case: Case, vmax: float) -> dict[str, Any]:
    """What the page needs of a case, pictures as `data:` addresses."""
    height, width = case.image.shape[:2]
    columns, rows = figures.sprite_grid(len(case.masks), height)
    lossless = max(height, width) <= _SMALL_SIDE
    picture = figures.overlay(case.image, case.anomaly_map, vmax=vmax)
    return {
        "case": case,
        "width": width,
        "height": height,
        "shown_width": width * max(1, round(_MIN_SHOWN_SIDE / width)),
        "input": figures.data_uri(Image.fromarray(case.image), lossless=lossless),
        "heat": figures.data_uri(Image.fromarray(picture), lossless=lossless),
        "outline": None if case.truth is None else figures.outline(case.truth),
        "columns": columns,
        "rows": rows,
        "reconstructions": figures.data_uri(figures.sprite_sheet(case.reconstructions), lossless=lossless),
        "masks": figures.data_uri(figures.sprite_sheet(case.masks), lossless=True),
        "areas": [f"{100 * area:.1f}" for area in case.masks.mean(axis=(1, 2))],
    }


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, keys joined by dots."""
    flat = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat

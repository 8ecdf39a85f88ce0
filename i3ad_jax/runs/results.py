"""Results of a test, read from the folder that holds them."""

import csv
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from i3ad_jax.data.dataset import content_hash
from i3ad_jax.data.files import open_file
from i3ad_jax.errors import InputError
from i3ad_jax.runs.files import check_digest, read_json, without_digest
from i3ad_jax.runs.form import Form, form_of_choices, misfit
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runs.run_results import RunResults
from i3ad_jax.scoring.maps import SCORES

_METRIC = (float, None)
_METRICS: Mapping[Any, Form] = dict.fromkeys(("image_auroc", "pixel_auroc", "pixel_aupro"), _METRIC)
_FORM: Mapping[Any, Form] = {
    **dict.fromkeys(("method", "data", "data_source", "data_digest"), str),
    **dict.fromkeys(("seed", "steps", "iterations"), int),
    "seconds_per_image": float,
    "preprocessing": {},
    "scores": {...: {**_METRICS, "per_defect": {...: _METRICS}}},
    "environment": {},
    "sha256": {...: str},
}


def read_results(folder: RunFolder) -> RunResults:
    """Results, settings and the score of each test image; weights and images are not needed.

    Raises:
        InputError: the run has not been tested; or a file is missing, damaged or of another
            version, or two do not fit together.
    """
    test = f"python -m i3ad_jax.evaluate {folder.path}"
    if folder.config.exists() and not folder.results.exists():
        raise InputError(
            f"{folder.path}: not tested yet; test it by {test} --data DATA, on labelled images"
        )
    results, config = read_json(folder.results), read_json(folder.config)
    again = f"{test} tests the run again"
    kinds = _checked_kinds(results, folder, again=again)
    try:
        paths, found, defects, scores = _read_scores(folder, kinds, results["sha256"])
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{folder.scores}: cannot be read ({error}); {again}") from error
    if len({*found.tolist()}) == 2 and any(
        own["image_auroc"] is None for own in results["scores"].values()
    ):
        raise InputError(
            f"{folder.results}: 'image_auroc' is null, but there are both classes; {again}"
        )
    try:
        check_digest(results)
    except ValueError as error:
        raise InputError(f"{folder.results}: {error}; {again}") from error
    return RunResults(
        str(folder.path), without_digest(results), config, paths, found, defects, scores
    )


def _checked_kinds(results: Mapping[str, Any], folder: RunFolder, *, again: str) -> list[str]:
    """Return the names of the scores in `results.json`, after a check of its form.

    Raises:
        InputError: it has another form, or its scores are not those of this version.
    """
    form = {**form_of_choices(results), **_FORM}
    if problem := misfit(results, {**form, "u": (float, None)} if "u" in results else form):
        raise InputError(f"{folder.results}: {problem}; {again}")
    kinds = list(results["scores"])
    if unknown := [kind for kind in kinds if kind not in SCORES]:
        raise InputError(
            f"{folder.results}: there is no score {unknown[0]} in this version; {again}"
        )
    if not {results["headline"], *results["thresholds"]} <= {*kinds} <= {*results["thresholds"]}:
        raise InputError(
            f"{folder.results}: scores, headline and thresholds do not fit together; {again}"
        )
    if len({frozenset(own["per_defect"]) for own in results["scores"].values()}) != 1:
        raise InputError(f"{folder.results}: not all scores are of the same classes; {again}")
    return kinds


def _read_scores(
    folder: RunFolder, kinds: list[str], sha256: Mapping[str, str]
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...], dict[str, Any]]:
    """Return paths, labels, defect classes and scores by kind, from `scores.csv`.

    Raises:
        OSError: the file cannot be read.
        ValueError: its content is damaged or does not fit `results.json`.
        csv.Error: it is not a CSV file.
    """
    with open_file(folder.scores) as opened:
        content = opened.read()
    header, *rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    if header != ["path", "label", "defect", *kinds]:
        raise ValueError(f"its columns are not those of {folder.results.name}")
    paths, labels, defects, *columns = zip(*rows, strict=True)
    scores: dict[str, Any] = {
        kind: np.array(column, np.float64) for kind, column in zip(kinds, columns, strict=True)
    }
    found = np.array(labels, np.int64)
    if not (
        np.isin(found, (0, 1)).all() and all(np.isfinite(own).all() for own in scores.values())
    ):
        raise ValueError("a label is neither 0 nor 1, or a score is not finite")
    if content_hash(content) != sha256.get(folder.scores.name):
        raise ValueError("it has changed since it was written")
    return paths, found, defects, scores

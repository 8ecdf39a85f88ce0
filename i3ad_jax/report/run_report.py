"""The report of a run: written by its test, or again from its folder."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from i3ad_jax.data.dataset import Split
from i3ad_jax.data.load import DataSettings
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.data.stored import Rows, StoredArray
from i3ad_jax.detector import Detector
from i3ad_jax.errors import IncompleteReportWarning, InputError
from i3ad_jax.plan import Plan
from i3ad_jax.report.cases import Case, choose_cases
from i3ad_jax.report.enlarged import large_views
from i3ad_jax.report.large_pictures import LargePictures
from i3ad_jax.report.report import Origin, Pictures, report_page
from i3ad_jax.report.thumbnails import Thumbnail, thumbnails
from i3ad_jax.runs.files import file_hash, read_json, write_text
from i3ad_jax.runs.results import read_results
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runs.run_results import RunResults
from i3ad_jax.runtime.disk import make_folder
from i3ad_jax.scoring.maps import SCORES

NUM_CASES = 12


class Shown(NamedTuple):
    """Pictures of a report, of which unavailable ones are None.

    Attributes:
        test: the test images.
        maps: their anomaly maps of the selected score.
        detector: tested detector.
        cases: as `make_cases` returns them.
        data: source of the test images.
    """

    test: Split | None
    maps: Float[Rows, "n h w"] | None
    detector: Detector | None
    cases: list[Case]
    data: DataSettings


def origin_of(
    run: RunResults,
    plan: Plan,
    training: Sequence[Mapping[str, Any]],
    trained: Mapping[str, Any],
) -> Origin:
    """Return the origin of results; `trained` is the environment of the training."""
    environment = {"test": run.results["environment"], "training": trained}
    counts = len(plan.files.trained), len(plan.files.calibration_set)
    return Origin(plan.describe(), training, environment, *counts)


def make_cases(
    run: RunResults, test: Split, maps: Float[Rows, "n h w"], detector: Detector | None
) -> list[Case]:
    """The images that a report shows large, with every state of the loop.

    Args:
        run: results and scores of the images.
        test: the images.
        maps: their anomaly maps of the selected score.
        detector: tested detector; without it there are no states.
    """
    chosen = choose_cases(run.labels, run.scores[run.headline], count=NUM_CASES)
    traced = detector and detector.trace_pixels(
        test.images[np.array([index for index, _ in chosen])]
    )
    no_state = np.zeros((0, *maps.shape[1:]), bool)
    return [
        Case(
            index=index,
            group=group,
            image=test.images[index],
            truth=test.masks[index] if test.annotated[index] else None,
            anomaly_map=maps[index],
            reconstructions=traced.reconstructions[i]
            if traced
            else np.zeros((*no_state.shape, 3), np.uint8),
            masks=traced.masks[i] if traced else no_state,
        )
        for i, (index, group) in enumerate(chosen)
    ]


def write_report(
    file: Path,
    run: RunResults,
    *,
    origin: Origin,
    shown: Shown,
    missing: Sequence[str] = (),
) -> None:
    """Writes the report to `file`; an older one stays whole until the new one is complete.

    Args:
        file: the HTML file.
        run: results, settings and scores.
        origin: plan, training and environments.
        shown: images, maps and states.
        missing: parts that could not be put in the report, a sentence each.
    """
    states = ()
    if (detector := shown.detector) is not None:
        numbers = detector.method.trace_iterations[1:]
        states = (detector.method.start, *(f"iteration {number}" for number in numbers))
    page = report_page(
        run,
        origin=origin,
        states=states,
        cases=shown.cases,
        pictures=make_pictures(run, shown),
        missing=missing,
    )
    write_text(file, page)


def make_pictures(run: RunResults, shown: Shown) -> Pictures:
    """Return the pictures of a report: of the cases, then of the worst mistakes first."""
    test, maps = shown.test, shown.maps
    if test is None or maps is None:
        return Pictures()
    order = np.argsort(run.margins(run.headline), kind="stable").tolist()
    outcomes = run.outcomes(run.headline)
    large = large_views(
        LargePictures(shown.data, test).read,
        maps,
        kept=[case.index for case in shown.cases],
        others=[index for index in order if outcomes[index] in ("missed", "false alarm")],
        threshold=run.results.get("pixel_threshold"),
    )
    vmax = SCORES[run.headline].heat_limit
    return Pictures(thumbnails(test.images, maps, order, vmax=vmax), large)


def rewrite_report(folder: RunFolder, *, out: Path, progress: bool = False) -> None:
    """Writes the report of a run, or of the results of another test of it, again.

    Scores, maps, settings and training curves are those in the folder. The images are read from
    where they were, and the states of the cases are computed by the run's weights. Files that were
    removed or have changed are left out, with an `IncompleteReportWarning`; the report says so too.

    Args:
        folder: of a run or of results.
        out: the HTML file.
        progress: show progress bars.

    Raises:
        InputError: the folder has no results, or `out` cannot be written.
    """
    run = read_results(folder)
    missing: list[str] = []

    def unless_gone(what: str, get: Any) -> Any:
        try:
            return get()
        except InputError as error:
            missing.append(f"{what} ({error})")
            warnings.warn(f"{out}: lacks {missing[-1]}", IncompleteReportWarning, stacklevel=3)
            return None

    training = unless_gone("the training curves", lambda: folder.source().read_metrics()) or []
    test = unless_gone("pictures of the images", lambda: read_test(folder, run, progress=progress))
    maps, detector, cases = None, None, []
    if test is not None:
        maps = unless_gone("the anomaly maps", lambda: read_maps(folder, run, test, run.headline))
    if test is not None and maps is not None:
        detector = unless_gone("the states of the loop", lambda: Detector.load(folder.path))
        cases = make_cases(run, test, maps, detector)
    environment = read_json(folder.environment)
    trained = environment.get("training", environment)
    origin = origin_of(run, folder.read_plan(), training, trained)
    shown = Shown(test, maps, detector, cases, data_settings(folder, run))
    with folder.writing():
        make_folder(out.parent)
        write_report(out, run, origin=origin, shown=shown, missing=missing)


def pictures_of(
    folder: RunFolder, run: RunResults, paths: Sequence[str], *, budget: int
) -> dict[str, Thumbnail]:
    """Return pictures of test images by path, in the given order, as many as fit the budget.

    Raises:
        InputError: images or anomaly maps cannot be read or have changed.
    """
    test = read_test(folder, run, progress=False)
    maps = read_maps(folder, run, test, run.headline)
    index = {path: position for position, path in enumerate(run.paths)}
    vmax = SCORES[run.headline].heat_limit
    order = [index[path] for path in paths]
    found = thumbnails(test.images, maps, order, vmax=vmax, budget=budget)
    return {run.paths[position]: own for position, own in found.items()}


def data_settings(folder: RunFolder, run: RunResults) -> DataSettings:
    """Return the source of the test images of the results, and the options to read them."""
    settings = folder.read_config().data.for_source(run.results["data_source"])
    if (reading := run.results.get("data_reading")) is not None:  # not of version 0.1
        settings = replace(settings, reading=ReadingSettings.from_json(reading))
    return settings


def read_test(folder: RunFolder, run: RunResults, *, progress: bool) -> Split:
    """Return the test images of the results.

    Raises:
        InputError: they cannot be read or have changed.
    """
    settings = data_settings(folder, run)
    data = settings.load(size=folder.read_plan().preprocessing.size, progress=progress)
    if data.digest != run.results["data_digest"] or data.test.paths != run.paths:
        raise InputError(f"{settings.data}: the test images are not those of the results any more")
    return data.test


def read_maps(
    folder: RunFolder, run: RunResults, test: Split, kind: str
) -> Float[StoredArray, "n h w"]:
    """Return the anomaly maps of a score, one for each test image.

    Raises:
        InputError: their file cannot be read, has changed, or is of other images.
    """
    file = folder.maps / f"{kind}.npy"
    maps = StoredArray.open(file)
    if maps.shape != test.images.shape[:3] or maps.dtype != np.float32:
        raise InputError(f"{file}: is not of the images of the results")
    if file_hash(file) != run.results["sha256"].get(f"{folder.maps.name}/{file.name}"):
        raise InputError(f"{file}: has changed since it was written")
    return maps

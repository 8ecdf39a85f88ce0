"""Test of a detector on labelled images: maps, scores, metrics, instructive cases, files."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from i3ad_jax.config import Config
from i3ad_jax.data.dataset import NORMAL, Dataset, Split
from i3ad_jax.data.load import DataSettings
from i3ad_jax.data.stored import Rows
from i3ad_jax.detector import Detector
from i3ad_jax.errors import ChangedFilesWarning, DoubtfulLabelWarning, InputError
from i3ad_jax.evaluation import Evaluation
from i3ad_jax.report.cases import Case, picture
from i3ad_jax.report.run_report import Shown, make_cases, origin_of, write_report
from i3ad_jax.runs.calibration_file import write_calibration
from i3ad_jax.runs.environment import environment
from i3ad_jax.runs.files import (
    file_hash,
    read_json,
    write_array,
    write_csv,
    write_json,
    write_picture,
    write_with_digest,
)
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runs.run_results import RunResults
from i3ad_jax.runs.weights import load_weights
from i3ad_jax.runtime.disk import make_folder, remove
from i3ad_jax.scoring.like_normal import classes_like_normal


@dataclass(frozen=True, eq=False)
class TestedRun:
    """Results of the test of a detector, to be written to a folder.

    Attributes:
        detector: tested detector.
        test: the labelled images.
        maps: anomaly maps by score, float32; in a file where they are too many for memory.
        scores: image scores by score.
        results: content of `results.json`.
        cases: the images that the report shows, with every state of the loop.
    """

    detector: Detector
    test: Split
    maps: dict[str, Float[Rows, "n h w"]]
    scores: dict[str, Float[np.ndarray, " n"]]
    results: dict[str, Any]
    cases: list[Case]


def evaluate_run(
    run: RunFolder,
    config: Config[Any, Any],
    *,
    data: DataSettings,
    out: RunFolder,
    memory: int | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Tests a run under `config`; returns what `results.json` holds.

    Args:
        run: the trained run.
        config: the run's settings, those of the test excepted.
        data: the run's own, except for the source of the test images and the options to read them.
        out: the folder for the results.
        memory: bytes that the images of a split, or the maps, may take there, as for
            `load_dataset`.
        command: for the results' record.

    Raises:
        InputError: the run, its checkpoint or the data cannot be used, or `out` would overwrite a
            run.
    """
    stored = run.read_config()
    config.check_weights_of(stored)
    same_data = data == stored.data
    same = same_data and config == replace(stored, throughput=config.throughput)
    if not (same and out.is_same(run)):
        check_results_folder(out, run)
    plan = run.read_plan()
    tested = data.load(size=plan.preprocessing.size, memory=memory, progress=True)
    for note in tested.notes:
        print(note)
    detector = load_as(run, config, train=tested.train if same_data else None, memory=memory)
    tested = evaluate(detector, tested, memory=memory, progress=True)
    with out.lock():
        return write_evaluation(tested, out, run=run, data=data, command=command)


def load_as(
    run: RunFolder,
    config: Config[Any, Any],
    *,
    train: Split | None = None,
    memory: int | None = None,
) -> Detector:
    """The weights of a run with the settings of another test.

    The run's own calibration serves where the settings are its own; otherwise, or where the run was
    stopped before it was calibrated, the images that it held out or was recalibrated on do. Warns
    of files of the training set that have changed.

    Args:
        run: the trained run.
        config: the run's settings, those of the test excepted.
        train: the normal training images that the run's settings name; read if needed by default.
        memory: as for `load_dataset`.

    Raises:
        InputError: the run or its held-out images cannot be used.
    """
    stored = run.read_config()
    if config == replace(stored, throughput=config.throughput) and run.calibration.exists():
        detector = Detector.load(run.path)
        return replace(detector, plan=detector.plan.with_asked(config))
    plan = run.read_plan().with_asked(config)
    step, state = load_weights(run, plan.method)
    size = plan.preprocessing.size
    if not plan.files.recalibrated:
        if train is None:
            train = config.data.load(size=size, memory=memory, progress=True).train
        for change in plan.files.changes(train):
            warnings.warn(change, ChangedFilesWarning, stacklevel=2)
    held_out = plan.files.read_calibration_set(config.data, size=size, train=train)
    verdict = run.read_verdict()
    detector = Detector.calibrated(
        plan, state, held_out.images[:], step=step, verdict=verdict, progress=True
    )
    if config == replace(stored, throughput=config.throughput):
        write_calibration(detector.calibration, run)
    return detector


def evaluate(
    detector: Detector, data: Dataset, *, memory: int | None = None, progress: bool = False
) -> TestedRun:
    """Tests a detector on the test split of a data set.

    Args:
        detector: to test.
        data: of which only the test split is used.
        memory: bytes that the anomaly maps may take there, by default half of what is free.
        progress: show a progress bar.

    Raises:
        InputError: there is no test image.

    Warns:
        DoubtfulLabelWarning: a class without masks scores like the normal images.
    """
    test, config = data.test, detector.config
    if not len(test):
        raise InputError(
            f"--data {data.name}: no test images; predict scores images without labels"
        )
    # A queue of a single image compiles the program, so that its time does not count.
    detector.anomaly_maps(test.images[:1])
    start = time.perf_counter()
    maps, scores = detector.score_split(test, memory=memory, progress=progress)
    seconds = (time.perf_counter() - start) / len(test)
    calibration, rule = detector.calibration, detector.rule
    thresholds = detector.thresholds
    measured = Evaluation.of(data.name, test, maps, scores, rule=rule, thresholds=thresholds)
    _warn_of_labels(test, scores[rule.score])
    results = {
        "method": config.method,
        "data": data.name,
        "data_digest": data.digest,
        "seed": config.seed,
        "steps": calibration.step,
        "num_test_normal": int((test.labels == 0).sum()),
        "num_test_anomalous": int((test.labels == 1).sum()),
        "num_test_without_mask": int((~test.annotated).sum()),
        "iterations": detector.method.trace_iterations[-1],
        **calibration.tuned,
        "learned": {**calibration.learned, "problem": calibration.problem},
        "preprocessing": detector.preprocessing.to_json(),
        "headline": rule.score,
        "rule": rule.describe(),
        "pixel_threshold": rule.pixel_threshold,
        "standardise": dict(calibration.standardise),
        "pooling": dict(calibration.pooling),
        "fusion": calibration.fusion and calibration.fusion.to_json(),
        "planted_auroc": {name: dict(own) for name, own in calibration.planted_auroc.items()},
        "thresholds": thresholds,
        "scores": dict(measured.metrics),
        "seconds_per_image": seconds,
    }
    found = _as_run_results(detector, test, scores, results)
    cases = make_cases(found, test, maps[rule.score], detector)
    return TestedRun(detector, test, maps, scores, results, cases)


def _warn_of_labels(test: Split, scores: Float[np.ndarray, " n"]) -> None:
    """Warn of classes without any mask whose selected scores are those of the normal images."""
    masked = {test.defects[i] for i in np.flatnonzero(test.annotated)}
    for name in classes_like_normal(
        scores, test.defects, among={*test.defects} - masked - {NORMAL}
    ):
        warnings.warn(
            f"class {name} has no masks and scores like the normal images; if it is normal, give"
            f" --normal-class {name}",
            DoubtfulLabelWarning,
            stacklevel=3,
        )


def write_evaluation(
    tested: TestedRun,
    folder: RunFolder,
    *,
    run: RunFolder,
    data: DataSettings,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """Write results, scores, maps and report to a folder; return the content of `results.json`.

    `results.json` is written last. A folder that is not the run's own becomes complete by itself:
    it gets settings, environment, calibration and the list of files too, and says where the weights
    are.

    Args:
        tested: results of a detector of the run.
        folder: folder for the results.
        run: the trained run, or results of another test of it.
        data: source of the test images, and the options to read them.
        command: for the results' record.

    Raises:
        InputError: the folder holds another run, or cannot be written to.
    """
    detector, test = tested.detector, tested.test
    weights = run.source()
    trained = read_json(weights.environment)
    machine = environment(command=command)
    results = {
        **tested.results,
        "data_source": data.data,
        "data_reading": data.reading.to_json(),
        "environment": machine,
    }
    own = folder.is_same(run)
    if not own:
        check_results_folder(folder, run)
    with folder.writing():
        make_folder(folder.path)
        remove(folder.results)  # old results never stand beside new settings
        if not own:
            folder.point_to(weights)
            write_json(folder.environment, {**machine, "training": trained})
            folder.write_plan(detector.plan)
            write_calibration(detector.calibration, folder)
            folder.write_verdict(detector.verdict)
        make_folder(folder.maps)
        for name, values in tested.maps.items():
            write_array(folder.maps / f"{name}.npy", values)
        columns = zip(test.paths, test.labels, test.defects, *tested.scores.values(), strict=True)
        write_csv(folder.scores, ("path", "label", "defect", *tested.scores), columns)
        described = (folder.scores, *(folder.maps / f"{name}.npy" for name in tested.maps))
        results["sha256"] = {
            file.relative_to(folder.path).as_posix(): file_hash(file) for file in described
        }
        found = _as_run_results(detector, test, tested.scores, results, name=str(folder.path))
        write_report(
            folder.report,
            found,
            origin=origin_of(found, detector.plan, weights.read_metrics(), trained),
            shown=Shown(test, tested.maps[found.headline], detector, tested.cases, data),
        )
        write_picture(folder.cases, picture(tested.cases))
        write_with_digest(folder.results, results)
    return results


def check_results_folder(folder: RunFolder, run: RunFolder) -> None:
    """Raises InputError if results of `run` would overwrite another run, or its own files."""
    if folder.is_same(run):
        raise InputError(
            f"--out {folder.path}: is the run itself, whose data or settings differ; name another"
            " folder"
        )
    if folder.checkpoints.exists() or (folder.config.exists() and not folder.weights.exists()):
        raise InputError(f"--out {folder.path}: holds another run; name another folder")


def _as_run_results(
    detector: Detector,
    test: Split,
    scores: dict[str, Float[np.ndarray, " n"]],
    results: dict[str, Any],
    *,
    name: str = "",
) -> RunResults:
    """Return the content that `read_results` will read from the folder."""
    asked = detector.plan.asked.to_json()
    return RunResults(name, results, asked, test.paths, test.labels, test.defects, scores)

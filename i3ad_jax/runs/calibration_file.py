"""`calibration.json` and `statistics/`: the calibration of a run on disk."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Float

from i3ad_jax.calibration.calibration import Calibration
from i3ad_jax.calibration.fusion import Fusion
from i3ad_jax.calibration.standardisation import Statistics
from i3ad_jax.data.images import Size
from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import Method, State
from i3ad_jax.methods.state import state_digest
from i3ad_jax.runs.files import (
    check_digest,
    file_hash,
    read_array,
    read_json,
    write_array,
    write_with_digest,
)
from i3ad_jax.runs.form import form_of_choices, misfit
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.disk import make_folder, remove
from i3ad_jax.scoring.maps import CALIBRATED, COMBINED, POOLINGS, Pooling


def write_calibration(calibration: Calibration, folder: RunFolder) -> None:
    """Write `statistics/SCORE.npy`, each pixel's mean and deviation, then `calibration.json`.

    The deviation is the standard deviation. `calibration.json` holds the SHA-256 of each of the
    other files.

    Raises:
        InputError: the folder cannot be written to.
    """
    with folder.writing():
        remove(folder.calibration)  # old thresholds never stand beside new statistics
        make_folder(folder.statistics)
        hashes = {}
        for name, found in calibration.statistics.items():
            file = folder.statistics / f"{name}.npy"
            write_array(file, np.stack([found.mean, found.sd]))
            hashes[f"{folder.statistics.name}/{file.name}"] = file_hash(file)
        write_with_digest(folder.calibration, {**calibration_json(calibration), "sha256": hashes})


def read_calibration(
    folder: RunFolder, *, method: Method, size: Size, step: int, state: State
) -> Calibration:
    """Return what `write_calibration` wrote.

    Args:
        folder: of the run or of results.
        method: method of the run.
        size: the working size.
        step: number of training steps of the weights that it is for.
        state: these weights.

    Raises:
        InputError: a file is missing or damaged, or belongs to another method or other weights.
    """
    values = read_json(folder.calibration)
    again = (
        f"python -m i3ad_jax.train --run {folder.source().path} --resume calibrates the run again"
    )
    try:
        if problem := misfit(
            values, {**form_of_choices(values), "tuned": {}, "sha256": {...: str}}
        ):
            raise ValueError(problem)
        found = _from_json(values, folder, method.score_names, size)
        _check_consistent(found, values, method)
        check_digest(values)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{folder.calibration}: damaged ({reason}); {again}") from error
    if found.step != step:
        raise InputError(
            f"{folder.calibration}: made with the weights of step {found.step}, but the newest are"
            f" of step {step}; {again}"
        )
    if found.weights != state_digest(state):
        raise InputError(
            f"{folder.calibration}: made with other weights than those of step {step} in"
            f" {folder.source().checkpoints}, which are damaged or another run's: put the right"
            " ones back"
        )
    return found


def calibration_json(calibration: Calibration) -> dict[str, Any]:
    """Return everything but the statistics as JSON values."""
    return {
        "step": calibration.step,
        "weights": calibration.weights,
        "learned": {**calibration.learned, "problem": calibration.problem},
        "tuned": dict(calibration.tuned),
        "standardise": dict(calibration.standardise),
        "pooling": dict(calibration.pooling),
        "fusion": calibration.fusion and calibration.fusion.to_json(),
        "headline": calibration.headline,
        "planted_auroc": {name: dict(own) for name, own in calibration.planted_auroc.items()},
        "thresholds": calibration.thresholds,
        "held_out_scores": {
            name: scores.tolist() for name, scores in calibration.held_out_scores.items()
        },
        "held_out_peaks": {
            name: peaks.tolist() for name, peaks in calibration.held_out_peaks.items()
        },
    }


def _from_json(
    values: Mapping[str, Any], folder: RunFolder, names: Sequence[str], size: Size
) -> Calibration:
    """Return the calibration of these values and of the statistics beside them."""
    fused = values.get("fusion")  # from version 0.4
    pooled = [name for name in names if not (fused and name == COMBINED.name)]
    return Calibration(
        step=_whole(values["step"]),
        weights=str(values["weights"]),
        learned={key: value for key, value in values["learned"].items() if key != "problem"},
        problem=values["learned"]["problem"],
        tuned=dict(values["tuned"]),
        standardise=dict(values["standardise"]),
        pooling={name: _pooling(values["pooling"][name]) for name in pooled},
        fusion=fused and Fusion.from_json(fused),
        headline=_one_of(values["headline"], names),
        planted_auroc=dict(values["planted_auroc"]),
        statistics={
            score.name: _read_statistics(folder, score.name, size, values["sha256"])
            for score in CALIBRATED
            if score.name in names
        },
        held_out_scores={name: _scores(values["held_out_scores"][name], name) for name in names},
        held_out_peaks={
            name: _scores(values["held_out_peaks"][name], name)
            for name in (names if values.get("held_out_peaks") else ())
        },
    )


def _check_consistent(found: Calibration, values: Mapping[str, Any], method: Method) -> None:
    """Raise ValueError unless thresholds, maxima of maps and parameters fit the scores."""
    for name, threshold in found.thresholds.items():
        if not math.isclose(values["thresholds"][name], threshold, rel_tol=1e-9):
            raise ValueError(f"the threshold of {name} is not that of its held-out scores")
    for name, peaks in found.held_out_peaks.items():
        if len(peaks) != len(found.held_out_scores[name]):
            raise ValueError(f"{name} has {len(peaks)} maxima of maps, but not as many scores")
    parameters = method.parameters(found.tuned)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters)):
        raise ValueError("a parameter is not finite")


def _pooling(value: Any) -> Pooling:
    return cast(Pooling, _one_of(value, POOLINGS))


def _one_of(value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value


def _read_statistics(
    folder: RunFolder, name: str, size: Size, hashes: Mapping[str, str]
) -> Statistics:
    file = folder.statistics / f"{name}.npy"
    if file_hash(file) != hashes[f"{folder.statistics.name}/{file.name}"]:
        raise ValueError(f"{file.name} is not the file that was written with it")
    values = read_array(file)
    if values.shape != (2, *size):
        raise ValueError(f"{file.name} has the shape {values.shape}, not {(2, *size)}")
    try:
        return Statistics(values[0], values[1])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file.name}: {error}") from error


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"step {value!r} must be a whole number")
    return value


def _scores(values: Any, name: str) -> Float[np.ndarray, " n"]:
    if not values or not all(type(each) in (int, float) and math.isfinite(each) for each in values):
        raise ValueError(f"the held-out scores of {name} must be finite numbers")
    return np.array(values, np.float64)

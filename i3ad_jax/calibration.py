"""What held-out normal images teach a detector: test-time parameters, statistics, thresholds."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import Method, State
from i3ad_jax.runs.files import read_array, read_json, write_array, write_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.queues import by_queues
from i3ad_jax.scoring.maps import CALIBRATED, PLAIN, SCORES, AnomalyMaps, image_scores
from i3ad_jax.scoring.standardisation import (
    ScoringSettings,
    Standardise,
    Statistics,
    choose,
    leave_one_out,
    statistics,
)

DEFECT_QUANTILE = 0.95


@dataclass(frozen=True)
class Calibration:
    """All that comes from normal images which served no training step.

    Attributes:
        step: number of training steps of the weights that it was made with.
        weights: their `state_digest`.
        tuned: what the method's test-time procedure takes from them, such as u.
        standardise: by the name of each calibrated score, how its map is standardised, and why.
        statistics: of the maps that calibrated scores are made of, by the name of the calibrated score.
        thresholds: by the name of each score; an image counts as anomalous above it.
    """

    step: int
    weights: str
    tuned: Mapping[str, Any]
    standardise: Mapping[str, Any]
    statistics: Mapping[str, Statistics]
    thresholds: Mapping[str, float]

    def complete(self, maps: AnomalyMaps) -> AnomalyMaps:
        """The maps, and after them those of the calibrated scores, in the order of the table of scores."""
        calibrated = {
            score.name: self.statistics[score.name].standardise(maps[score.source])
            for score in CALIBRATED
            if score.source is not None
        }
        both = {**maps, **calibrated}
        return {name: both[name] for name in SCORES if name in both}

    def to_json(self) -> dict[str, Any]:
        """All but the statistics as JSON values."""
        return {
            "step": self.step,
            "weights": self.weights,
            "tuned": dict(self.tuned),
            "standardise": dict(self.standardise),
            "thresholds": dict(self.thresholds),
        }

    def write(self, folder: RunFolder) -> None:
        """Writes `statistics/SCORE.npy`, mean and standard deviation of each pixel, then `calibration.json`.

        Raises:
            InputError: the folder cannot be written to.
        """
        with folder.writing():
            folder.calibration.unlink(missing_ok=True)  # old thresholds never stand beside new statistics
            folder.statistics.mkdir(parents=True, exist_ok=True)
            for name, found in self.statistics.items():
                write_array(folder.statistics / f"{name}.npy", np.stack([found.mean, found.sd]))
            write_json(folder.calibration, self.to_json())

    @classmethod
    def read(cls, folder: RunFolder, *, method: Method, step: int, state: State) -> "Calibration":
        """What `write` wrote.

        Args:
            folder: of the run or of results.
            method: that it is for.
            step: number of training steps of the weights that it is for.
            state: these weights.

        Raises:
            InputError: a file is missing or damaged, or belongs to another method or other weights.
        """
        values = read_json(folder.calibration)
        again = f"python -m i3ad_jax.train --run {folder.source().path} --resume calibrates the run again"
        names = [score.name for score in SCORES.values() if method.has_features or not score.needs_features]
        try:
            found = cls(
                step=_whole(values["step"]),
                weights=str(values["weights"]),
                tuned=dict(values["tuned"]),
                standardise=dict(values["standardise"]),
                statistics={s.name: _read_statistics(folder, s.name, method.image_size) for s in CALIBRATED},
                thresholds={name: _finite(values["thresholds"][name]) for name in names},
            )
            parameters = method.parameters(found.tuned)
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters)):
                raise ValueError("a parameter is not finite")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise InputError(f"{folder.calibration}: damaged ({reason}); {again}") from error
        if found.step != step:
            raise InputError(
                f"{folder.calibration}: made with the weights of step {found.step}, but the newest are of"
                f" step {step}; {again}"
            )
        if found.weights != state_digest(state):
            raise InputError(
                f"{folder.calibration}: made with other weights than those of step {step} in"
                f" {folder.source().checkpoints}, which are damaged or another run's: put the right ones back"
            )
        return found


def calibrate(
    method: Method,
    state: State,
    held_out: UInt8[np.ndarray, "n h w 3"],
    *,
    scoring: ScoringSettings,
    seed: int,
    step: int,
    progress: bool = False,
) -> Calibration:
    """The calibration by held-out normal images, at least one.

    A calibrated score's threshold comes from scores of these images of which each is standardised by all
    others: by statistics that it had a part in, an image would look more normal than a new one.
    """
    tuned = method.tune(state, held_out, seed=seed, progress=progress)
    maps = plain_anomaly_maps(method, state, tuned, held_out, label="calibrate" if progress else None)
    thresholds = {name: defect_threshold(image_scores(own)) for name, own in maps.items()}
    standardise, found = {}, {}
    for score in CALIBRATED:
        source = maps[str(score.source)]
        how, reason = _standardise(source, scoring)
        others = leave_one_out(source, how)
        unseen = np.stack([other.standardise(own) for own, other in zip(source, others, strict=True)])
        scores = image_scores(unseen, top_fraction=scoring.top_fraction)
        thresholds[score.name] = defect_threshold(scores)
        standardise[score.name] = {"by": how, **reason}
        found[score.name] = statistics(source, how)
    ordered = {name: thresholds[name] for name in SCORES if name in thresholds}
    return Calibration(step, state_digest(state), tuned, standardise, found, ordered)


def state_digest(state: State) -> str:
    """SHA-256, in hex, of all arrays of a state, with their names, types and shapes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def plain_anomaly_maps(
    method: Method,
    state: State,
    tuned: Mapping[str, Any],
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    label: str | None = None,
) -> AnomalyMaps:
    """Maps of all images by the scores that are not calibrated; `label` names the progress bar, if any."""
    maps: Any = by_queues(
        lambda queue, count: method.predict(state, tuned, queue, count).maps,
        images,
        size=method.throughput.queue_size,
        label=label,
    )
    return {score.name: maps[score.name] for score in PLAIN if score.name in maps}


def scores_of(maps: AnomalyMaps, scoring: ScoringSettings) -> dict[str, Float[np.ndarray, " n"]]:
    """Image scores by name: the mean of a map (the paper's), or for a calibrated score of its top pixels."""
    return {
        name: image_scores(values, top_fraction=scoring.top_fraction if SCORES[name].source else 1.0)
        for name, values in maps.items()
    }


def defect_threshold(normal_scores: Float[np.ndarray, " n"]) -> float:
    """The score above which an image counts as defective: the 0.95 quantile of unseen normal images.

    About one normal image in twenty then raises a false alarm. Not in the paper, which only ranks.
    """
    return float(np.quantile(normal_scores, DEFECT_QUANTILE))


def _standardise(maps: np.ndarray, scoring: ScoringSettings) -> tuple[Standardise, dict[str, Any]]:
    """How to standardise, and for `calibration.json` the reason."""
    if scoring.standardise != "auto":
        return scoring.standardise, {"reason": "given by --standardise"}
    chosen, fit = choose(maps)
    return chosen, {"reason": "predicts held-out images best", "log_likelihoods": fit}


def _read_statistics(folder: RunFolder, name: str, image_size: int) -> Statistics:
    file = folder.statistics / f"{name}.npy"
    values = read_array(file)
    if values.shape != (2, image_size, image_size):
        raise ValueError(f"{file.name} has the shape {values.shape}, not {(2, image_size, image_size)}")
    try:
        return Statistics(values[0], values[1])
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file.name}: {error}") from error


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"step {value!r} is no whole number")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"threshold {value!r} is no finite number")
    return float(value)

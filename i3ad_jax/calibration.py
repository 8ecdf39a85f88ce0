"""What held-out normal images teach a detector: test-time parameters, statistics, thresholds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import jax
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from i3ad_jax.data.defects import damage
from i3ad_jax.data.images import Size
from i3ad_jax.errors import DivergenceError, InputError
from i3ad_jax.learning import examine
from i3ad_jax.methods.method import Method, State
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runs.checkpoint import state_digest
from i3ad_jax.runs.files import check_digest, file_hash, read_array, read_json, write_array, write_with_digest
from i3ad_jax.runs.form import CHOICES, misfit
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.disk import make_folder, remove
from i3ad_jax.runtime.processes import from_first, shared_among
from i3ad_jax.scoring.calibrated import add_calibrated, combine
from i3ad_jax.scoring.choose_pooling import choose_headline, choose_poolings
from i3ad_jax.scoring.maps import (
    CALIBRATED,
    COMBINED,
    PLAIN,
    POOLINGS,
    AnomalyMaps,
    Pooling,
    image_scores,
)
from i3ad_jax.scoring.standardisation import ScoringSettings, Statistics
from i3ad_jax.scoring.thresholds import defect_threshold
from i3ad_jax.shapes import AnyArray


@dataclass(frozen=True)
class Calibration:
    """All that comes from normal images which served no training step.

    Attributes:
        step: number of training steps of the weights that it was made with.
        weights: their `state_digest`.
        learned: how well held-out images are reconstructed, as `Learned.as_metrics`; empty for some methods.
        problem: what is wrong with that, in one line; None if nothing.
        tuned: what the method's test-time procedure takes from them, such as u.
        standardise: by the name of each calibrated score, how its map is standardised, and why.
        pooling: by the name of each score, how an image score is made of its map.
        headline: the name of the score to trust: see `choose_headline`.
        planted_auroc: image AUROC of planted defects, by score and pooling: what both were chosen by.
        statistics: of the maps that calibrated scores are made of, by the name of the calibrated score.
        held_out_scores: of the held-out images, by the name of each score.
    """

    step: int
    weights: str
    learned: Mapping[str, float]
    problem: str | None
    tuned: Mapping[str, Any]
    standardise: Mapping[str, Any]
    pooling: Mapping[str, Pooling]
    headline: str
    planted_auroc: Mapping[str, Mapping[str, float]]
    statistics: Mapping[str, Statistics]
    held_out_scores: Mapping[str, Float[np.ndarray, " n"]]

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """By the name of each score; an image counts as anomalous above it."""
        return {name: defect_threshold(scores) for name, scores in self.held_out_scores.items()}

    def complete(self, maps: dict[str, Float[AnyArray, "n h w"]]) -> dict[str, Float[AnyArray, "n h w"]]:
        """The maps, and after them those of the calibrated scores, in the order of the table of scores."""
        calibrated = {
            score.name: self.statistics[score.name].standardise(maps[score.source])
            for score in CALIBRATED
            if score.source in maps
        }
        return {**maps, **calibrated, COMBINED.name: combine(calibrated)}

    def image_scores(self, maps: dict[str, Float[AnyArray, "n h w"]]) -> dict[str, Float[AnyArray, " n"]]:
        """Image scores by name, of the maps that `complete` gives."""
        return {name: image_scores(own, self.pooling[name]) for name, own in maps.items()}

    def to_json(self) -> dict[str, Any]:
        """All but the statistics as JSON values."""
        return {
            "step": self.step,
            "weights": self.weights,
            "learned": {**self.learned, "problem": self.problem},
            "tuned": dict(self.tuned),
            "standardise": dict(self.standardise),
            "pooling": dict(self.pooling),
            "headline": self.headline,
            "planted_auroc": {name: dict(own) for name, own in self.planted_auroc.items()},
            "thresholds": self.thresholds,
            "held_out_scores": {name: scores.tolist() for name, scores in self.held_out_scores.items()},
        }

    def write(self, folder: RunFolder) -> None:
        """Writes `statistics/SCORE.npy`, mean and standard deviation of each pixel, then `calibration.json`.

        That has the SHA-256 of each of these files too.

        Raises:
            InputError: the folder cannot be written to.
        """
        with folder.writing():
            remove(folder.calibration)  # old thresholds never stand beside new statistics
            make_folder(folder.statistics)
            hashes = {}
            for name, found in self.statistics.items():
                file = folder.statistics / f"{name}.npy"
                write_array(file, np.stack([found.mean, found.sd]))
                hashes[f"{folder.statistics.name}/{file.name}"] = file_hash(file)
            write_with_digest(folder.calibration, {**self.to_json(), "sha256": hashes})

    @classmethod
    def read(cls, folder: RunFolder, *, method: Method, size: Size, step: int, state: State) -> "Calibration":
        """What `write` wrote.

        Args:
            folder: of the run or of results.
            method: that it is for.
            size: the working size.
            step: number of training steps of the weights that it is for.
            state: these weights.

        Raises:
            InputError: a file is missing or damaged, or belongs to another method or other weights.
        """
        values = read_json(folder.calibration)
        again = f"python -m i3ad_jax.train --run {folder.source().path} --resume calibrates the run again"
        names = method.score_names
        try:
            if problem := misfit(values, {**CHOICES, "tuned": {}, "sha256": {...: str}}):
                raise ValueError(problem)
            found = cls(
                step=_whole(values["step"]),
                weights=str(values["weights"]),
                learned={key: value for key, value in values["learned"].items() if key != "problem"},
                problem=values["learned"]["problem"],
                tuned=dict(values["tuned"]),
                standardise=dict(values["standardise"]),
                pooling={name: _pooling(values["pooling"][name]) for name in names},
                headline=_one_of(values["headline"], names),
                planted_auroc=dict(values["planted_auroc"]),
                statistics={
                    score.name: _read_statistics(folder, score.name, size, values["sha256"])
                    for score in CALIBRATED
                    if score.name in names
                },
                held_out_scores={name: _scores(values["held_out_scores"][name], name) for name in names},
            )
            for name, threshold in found.thresholds.items():
                if not math.isclose(values["thresholds"][name], threshold, rel_tol=1e-9):
                    raise ValueError(f"the threshold of {name} is not that of its held-out scores")
            parameters = method.parameters(found.tuned)
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters)):
                raise ValueError("a parameter is not finite")
            check_digest(values)
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
    preprocessing: Preprocessing,
    scoring: ScoringSettings,
    seed: int,
    step: int,
    progress: bool = False,
) -> Calibration:
    """The calibration by held-out normal images, at least one.

    Calibrated scores of these images are standardised by all others: by statistics that it had a part in, an
    image would look more normal than a new one. So are those of the copies with planted defects, by which
    poolings and the headline score are chosen.
    """
    learned = examine(method, state, held_out, preprocessing)
    tuned = method.tune(state, preprocessing.squares(held_out, seed=seed), seed=seed, progress=progress)
    tuned = from_first(tuned)  # all processes score by the same

    def plain(images: np.ndarray, label: str) -> AnomalyMaps:
        with tqdm(desc=label, total=len(images), unit="image", disable=not progress) as bar:
            return plain_anomaly_maps(
                method, state, tuned, images, preprocessing=preprocessing, step=step, bar=bar
            )

    rng = np.random.default_rng(seed)
    chosen = np.resize(rng.permutation(len(held_out)), scoring.planted_images)  # again and again, if need be
    damaged = np.stack([damage(rng, held_out[i]) for i in chosen])
    normal, planted = plain(held_out, "calibrate"), plain(damaged, "choose scores")
    found = add_calibrated(normal, planted, chosen, scoring)
    pooling, auroc = choose_poolings(normal, planted, scoring.pooling)
    return Calibration(
        step=step,
        weights=state_digest(state),
        learned=learned.as_metrics() if learned else {},
        problem=learned.problem(aligned=preprocessing.aligned) if learned else None,
        tuned=tuned,
        standardise={name: reason for name, (_, reason) in found.items()},
        pooling=pooling,
        headline=choose_headline(pooling, auroc, min(len(held_out), len(chosen))),
        planted_auroc=auroc,
        statistics={name: own for name, (own, _) in found.items()},
        held_out_scores={name: image_scores(x, pooling[name]) for name, x in normal.items()},
    )


def plain_anomaly_maps(
    method: Method,
    state: State,
    tuned: Mapping[str, Any],
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    preprocessing: Preprocessing,
    step: int,
    bar: tqdm | None = None,
) -> AnomalyMaps:
    """Maps of all images by the scores that are not calibrated; each moves the bar on, if there is one.

    Several processes share the images; each calls this and gets all maps.

    Raises:
        DivergenceError: a map is not finite: finite weights can still be too large to compute with.
    """
    reached = 0 if bar is None else bar.n + len(images)
    maps: Any = shared_among(
        lambda own: preprocessing.apply(
            lambda queue, count: method.predict(state, tuned, queue, count).maps,
            own,
            queue_size=method.throughput.queue_size,
            bar=bar,
        ),
        images,
    )
    if bar is not None:
        bar.update(reached - bar.n)  # by the other processes' images
    plain = {score.name: maps[score.name] for score in PLAIN if score.name in maps}
    for name, own in plain.items():
        if not np.isfinite(own).all():
            worst = own[~np.isfinite(own)][0]
            raise DivergenceError(step, f"score {name} = {worst:g}")
    return plain


def _pooling(value: Any) -> Pooling:
    return cast(Pooling, _one_of(value, POOLINGS))


def _one_of(value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(known)}")
    return value


def _read_statistics(folder: RunFolder, name: str, size: Size, hashes: Mapping[str, str]) -> Statistics:
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
        raise ValueError(f"step {value!r} is no whole number")
    return value


def _scores(values: Any, name: str) -> Float[np.ndarray, " n"]:
    if not values or not all(type(each) in (int, float) and math.isfinite(each) for each in values):
        raise ValueError(f"the held-out scores of {name} are no finite numbers")
    return np.array(values, np.float64)

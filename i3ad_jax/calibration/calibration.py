"""Calibration by held-out normal images: test-time parameters, statistics, thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from i3ad_jax.calibration.calibrated import add_calibrated
from i3ad_jax.calibration.fusion import WEIGHTED, Fusion, area, best_pooling, planted_auroc
from i3ad_jax.calibration.learned import Yardstick, examine
from i3ad_jax.calibration.probes import probes
from i3ad_jax.calibration.standardisation import ScoringSettings, Statistics
from i3ad_jax.calibration.thresholds import defect_threshold
from i3ad_jax.errors import DivergenceError
from i3ad_jax.methods.fitting import within_memory
from i3ad_jax.methods.method import Method
from i3ad_jax.methods.state import Trained, state_digest
from i3ad_jax.runtime.processes import from_first, shared_among
from i3ad_jax.runtime.progress import progress_bar
from i3ad_jax.runtime.queues import ProgressBar
from i3ad_jax.scoring.maps import (
    CALIBRATED,
    COMBINED,
    PAPER,
    PLAIN,
    POOLINGS,
    SEGMENTATION,
    AnomalyMaps,
    Pooling,
    image_scores,
)
from i3ad_jax.shapes import AnyArray


@dataclass(frozen=True)
class Calibration:
    """All that comes from normal images which served no training step.

    Attributes:
        step: number of training steps of the weights that it was made with.
        weights: their `state_digest`.
        learned: reconstruction errors of held-out images, as `Learned.as_metrics`; empty for some
            methods.
        problem: problem with these in one line; None without one.
        tuned: test-time parameters of the method from them, such as u.
        standardise: by the name of each calibrated score, how its map is standardised, and why.
        pooling: by the name of each score, how an image score is made of its map; the
            combined one is among them only in a run of a version before 0.4.
        fusion: of the combined score; None for a run of a version before 0.4, whose combined map is
            the mean of all calibrated ones.
        headline: the name of the score to trust, the combined one; a run of a version before 0.4
            may name another.
        planted_auroc: image AUROC of synthetic defects, by score and pooling, from which poolings
            and weights follow.
        statistics: of the maps that calibrated scores are made of, by the name of the calibrated
            score.
        held_out_scores: of the calibration images, by the name of each score.
        held_out_peaks: maxima of these images' maps, by the same names; empty for a run of version
            0.1.
    """

    step: int
    weights: str
    learned: Mapping[str, float]
    problem: str | None
    tuned: Mapping[str, Any]
    standardise: Mapping[str, Any]
    pooling: Mapping[str, Pooling]
    fusion: Fusion | None
    headline: str
    planted_auroc: Mapping[str, Mapping[str, float]]
    statistics: Mapping[str, Statistics]
    held_out_scores: Mapping[str, Float[np.ndarray, " n"]]
    held_out_peaks: Mapping[str, Float[np.ndarray, " images"]]

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Thresholds by the name of each score; an image above its threshold is anomalous."""
        return {name: defect_threshold(scores) for name, scores in self.held_out_scores.items()}

    def complete(
        self, maps: dict[str, Float[AnyArray, "n h w"]]
    ) -> dict[str, Float[AnyArray, "n h w"]]:
        """Return the maps and, after them, those of calibrated scores, in the order of `SCORES`."""
        calibrated = {
            score.name: self.statistics[score.name].standardise(maps[score.source])
            for score in CALIBRATED
            if score.source in maps
        }
        maps = {**maps, **calibrated}
        if self.fusion is not None:
            return {**maps, COMBINED.name: self.fusion.map(maps)}
        first, *others = calibrated.values()
        return {**maps, COMBINED.name: sum(others, first) / len(calibrated)}

    def image_scores(
        self, maps: dict[str, Float[AnyArray, "n h w"]]
    ) -> dict[str, Float[AnyArray, " n"]]:
        """Image scores by name, of the maps that `complete` gives."""
        scores = {name: image_scores(maps[name], how) for name, how in self.pooling.items()}
        return (
            scores if self.fusion is None else {**scores, COMBINED.name: self.fusion.scores(maps)}
        )


def calibrate(
    trained: Trained,
    held_out: UInt8[np.ndarray, "n h w 3"],
    *,
    scoring: ScoringSettings,
    seed: int,
    progress: bool = False,
) -> Calibration:
    """The calibration by held-out normal images, at least one.

    Calibrated scores of these images are standardised by all others: by statistics that it had a
    part in, an image would look more normal than a new one. So are those of the copies with
    synthetic defects, by which poolings and the weights of the combined score are chosen.
    """
    method, state, preprocessing, step = trained
    learned = examine(trained, Yardstick.of_held_out(method, preprocessing, held_out))
    squares = preprocessing.squares(held_out, seed=seed)
    tuned = within_memory(
        method, lambda own: own.tune(state, squares, seed=seed, progress=progress)
    )
    tuned = from_first(tuned)  # all processes score by the same

    def plain(images: np.ndarray, label: str) -> AnomalyMaps:
        compiles = images is held_out  # these come first
        with progress_bar(
            label, len(images), unit="image", compiles=compiles, disable=not progress
        ) as bar:
            return plain_anomaly_maps(trained, tuned, images, bar=bar)

    rng = np.random.default_rng(seed)
    damaged, chosen = probes(rng, held_out, scoring.planted_images)
    normal, planted = plain(held_out, "calibrate"), plain(damaged, "choose scores")
    plain_names = list(normal)
    found = add_calibrated(normal, planted, chosen, scoring)
    poolings = POOLINGS if scoring.pooling == "auto" else (scoring.pooling,)
    auroc = planted_auroc(normal, planted, poolings=poolings)
    pooling = {name: best_pooling(auroc[name]) for name in found}
    # Maps that are calibrated by all pixels together are the plain ones in other units.
    by_pixel = [name for name, (_, how) in found.items() if how["by"] == "pixel"]
    fusion = Fusion.choose(normal, auroc, [*plain_names, *by_pixel])
    combined = fusion.scores(normal)
    auroc[COMBINED.name] = {WEIGHTED: area(combined, fusion.scores(planted))}
    maps = {**normal, COMBINED.name: fusion.map(normal)}
    pooling = {**dict.fromkeys(plain_names, PAPER), **pooling}
    scores = {name: image_scores(normal[name], own) for name, own in pooling.items()}
    return Calibration(
        step=step,
        weights=state_digest(state),
        learned=learned.as_metrics() if learned else {},
        problem=learned.problem(aligned=preprocessing.aligned) if learned else None,
        tuned=tuned,
        standardise={name: reason for name, (_, reason) in found.items()},
        pooling=pooling,
        fusion=fusion,
        headline=COMBINED.name,
        planted_auroc=auroc,
        statistics={name: own for name, (own, _) in found.items()},
        held_out_scores={**scores, COMBINED.name: combined},
        held_out_peaks={name: x.max(axis=(1, 2)).astype(np.float64) for name, x in maps.items()},
    )


def plain_anomaly_maps(
    trained: Trained,
    tuned: Mapping[str, Any],
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    bar: ProgressBar | None = None,
) -> AnomalyMaps:
    """Return the maps of all images by the scores that are not calibrated.

    Each image moves the bar on, if there is one. Several processes share the images; each calls
    this and gets all maps.

    Raises:
        DivergenceError: a map is not finite: finite weights can still be too large to compute with.
    """
    own_method, state, preprocessing, step = trained
    start = 0 if bar is None else bar.n

    def maps_of_squares(
        method: Method, images: UInt8[np.ndarray, "n h w 3"], bar: ProgressBar | None
    ) -> AnomalyMaps:
        found: AnomalyMaps = preprocessing.apply(
            lambda queue, count: method.predict(state, tuned, queue, count).maps,
            images,
            queue_size=method.throughput.queue_size,
            bar=bar,
        )
        return found

    def maps_with_detail(method: Method, images: UInt8[np.ndarray, "n h w 3"]) -> AnomalyMaps:
        queue_size = method.throughput.queue_size
        together, parts = preprocessing.tiling.images_in(queue_size), []
        for first in range(0, len(images), together):
            part = images[first : first + together]
            segmentation = preprocessing.apply_levels(
                lambda squares: method.segmented(state, squares),
                part,
                pixels=queue_size * preprocessing.side**2,
            )
            parts.append({**maps_of_squares(method, part, None), SEGMENTATION: segmentation})
            if bar is not None:
                bar.update(len(part))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def maps_of(images: UInt8[np.ndarray, "n h w 3"], method: Method) -> AnomalyMaps:
        if bar is not None:
            bar.update(start - bar.n)  # what did not fit in memory is done again
        if preprocessing.levels:
            return maps_with_detail(method, images)
        return maps_of_squares(method, images, bar)

    maps: Any = shared_among(lambda own: within_memory(own_method, partial(maps_of, own)), images)
    if bar is not None:
        bar.update(start + len(images) - bar.n)  # by the other processes' images
    plain = {score.name: maps[score.name] for score in PLAIN if score.name in maps}
    _check_finite(plain, step)
    return plain


def _check_finite(maps: AnomalyMaps, step: int) -> None:
    """Raise DivergenceError unless all maps are finite."""
    for name, own in maps.items():
        if not np.isfinite(own).all():
            worst = own[~np.isfinite(own)][0]
            raise DivergenceError(step, f"score {name} = {worst:g}")

"""What held-out normal images teach a detector: test-time parameters, statistics, thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from i3ad_jax.calibration.calibrated import add_calibrated, combine
from i3ad_jax.calibration.choose_pooling import choose_headline, choose_poolings
from i3ad_jax.calibration.learned import examine
from i3ad_jax.calibration.standardisation import ScoringSettings, Statistics
from i3ad_jax.calibration.thresholds import defect_threshold
from i3ad_jax.data.defects import damage
from i3ad_jax.errors import DivergenceError
from i3ad_jax.methods.state import Trained, state_digest
from i3ad_jax.runtime.processes import from_first, shared_among
from i3ad_jax.runtime.progress import progress_bar
from i3ad_jax.runtime.queues import ProgressBar
from i3ad_jax.scoring.maps import (
    CALIBRATED,
    COMBINED,
    PLAIN,
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
        learned: how well held-out images are reconstructed, as `Learned.as_metrics`; empty for some
            methods.
        problem: what is wrong with that, in one line; None if nothing.
        tuned: what the method's test-time procedure takes from them, such as u.
        standardise: by the name of each calibrated score, how its map is standardised, and why.
        pooling: by the name of each score, how an image score is made of its map.
        headline: the name of the score to trust: see `choose_headline`.
        planted_auroc: image AUROC of planted defects, by score and pooling: what both were chosen
            by.
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
    headline: str
    planted_auroc: Mapping[str, Mapping[str, float]]
    statistics: Mapping[str, Statistics]
    held_out_scores: Mapping[str, Float[np.ndarray, " n"]]
    held_out_peaks: Mapping[str, Float[np.ndarray, " images"]]

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """By the name of each score; an image counts as anomalous above it."""
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
        return {**maps, **calibrated, COMBINED.name: combine(calibrated)}

    def image_scores(
        self, maps: dict[str, Float[AnyArray, "n h w"]]
    ) -> dict[str, Float[AnyArray, " n"]]:
        """Image scores by name, of the maps that `complete` gives."""
        return {name: image_scores(own, self.pooling[name]) for name, own in maps.items()}


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
    part in, an image would look more normal than a new one. So are those of the copies with planted
    defects, by which poolings and the headline score are chosen.
    """
    method, state, preprocessing, step = trained
    learned = examine(trained, held_out)
    tuned = method.tune(
        state, preprocessing.squares(held_out, seed=seed), seed=seed, progress=progress
    )
    tuned = from_first(tuned)  # all processes score by the same

    def plain(images: np.ndarray, label: str) -> AnomalyMaps:
        compiles = images is held_out  # these come first
        with progress_bar(
            label, len(images), unit="image", compiles=compiles, disable=not progress
        ) as bar:
            return plain_anomaly_maps(trained, tuned, images, bar=bar)

    rng = np.random.default_rng(seed)
    # again and again, if need be
    chosen = np.resize(rng.permutation(len(held_out)), scoring.planted_images)
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
        held_out_peaks={name: x.max(axis=(1, 2)).astype(np.float64) for name, x in normal.items()},
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
    method, state, preprocessing, step = trained
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

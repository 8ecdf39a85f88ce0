"""Calibrated maps of held-out normal images and of copies with synthetic defects.

Each held-out image is calibrated as if it were new: without its own part in the statistics.
"""

from typing import Any

import numpy as np

from i3ad_jax.calibration.fusion import MAP_POOLING, Unit
from i3ad_jax.calibration.standardisation import (
    ScoringSettings,
    Standardise,
    Statistics,
    choose,
    leave_one_out,
    statistics,
)
from i3ad_jax.scoring.maps import CALIBRATED, AnomalyMaps, PlantedMaps, image_scores


def add_calibrated(
    normal: AnomalyMaps, planted: PlantedMaps, chosen: np.ndarray, scoring: ScoringSettings
) -> dict[str, tuple[Statistics, dict[str, Any]]]:
    """Add calibrated maps to plain ones; return the statistics and their origin.

    Args:
        normal: maps of held-out images, each of which is standardised by all others.
        planted: maps of copies of some of them, each standardised by the same.
        chosen: positions of the originals of these copies.
        scoring: rule of standardisation.
    """
    found: dict[str, tuple[Statistics, dict[str, Any]]] = {}
    for score in CALIBRATED:
        if score.source not in normal:
            continue
        source = normal[score.source]
        how, reason = _standardise(source, scoring)
        others = list(leave_one_out(source, how))
        pairs = zip(others, source, strict=True)
        unseen = np.stack([other.standardise(own) for other, own in pairs])
        pairs = zip([others[i] for i in chosen], planted[score.source], strict=True)
        copies = np.stack([other.standardise(own) for other, own in pairs])
        unit = Unit(0.0, 1.0) if how == "none" else Unit.of(image_scores(unseen, MAP_POOLING))
        found[score.name] = statistics(source, how).rescaled(*unit), {"by": how, **reason}
        normal[score.name], planted[score.name] = unit.apply(unseen), unit.apply(copies)
    return found


def _standardise(maps: np.ndarray, scoring: ScoringSettings) -> tuple[Standardise, dict[str, Any]]:
    """Return the way to standardise, and for `calibration.json` the reason."""
    if scoring.standardise != "auto":
        return scoring.standardise, {"reason": "given by --standardise"}
    chosen, fit = choose(maps)
    return chosen, {"reason": "predicts held-out images best", "log_likelihoods": fit}

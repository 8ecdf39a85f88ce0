"""The combined score: image scores of all maps, weighted by the defects that each finds.

No map is best on every data set, and the synthetic defects in held-out normal images differ from
future ones. So the maps are weighted, not selected. Each is pooled so that it finds most synthetic
defects and put in standard deviations of normal images. Its weight is (2 A - 1)**`SHARPNESS`, where
A is its image AUROC of synthetic defects. A map that finds none of them, A = 0.5, has no weight.
Not in the paper.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from i3ad_jax.scoring.maps import (
    POOLINGS,
    AnomalyMaps,
    PlantedMaps,
    Pooling,
    image_scores,
)
from i3ad_jax.shapes import AnyArray

SHARPNESS = 2
MAP_POOLING: Pooling = "top_1"
"""Maps are in units of these image scores: of its pixels, the map with the heaviest tail would rule
the combined one."""

WEIGHTED = "weighted"
"""The combined score's place in `PlantedAuroc`, which has no pooling."""
PlantedAuroc = dict[str, dict[str, float]]
"""Image AUROC of synthetic defects, by score and pooling."""


class Unit(NamedTuple):
    """Mean and standard deviation of what normal images have."""

    mean: float
    sd: float

    @classmethod
    def of(cls, values: Float[np.ndarray, " n"]) -> "Unit":
        """Return those of the values; the deviation is 1 if all are equal."""
        return cls(float(values.mean()), float(values.std()) or 1.0)

    def apply(self, values: Float[AnyArray, "..."]) -> Float[AnyArray, "..."]:
        """Return the values less the mean, over the deviation."""
        return (values - self.mean) / self.sd


@dataclass(frozen=True)
class Part:
    """A map's part in the combined score.

    Attributes:
        pooling: from its map to its image score.
        weight: in [0, 1]; those of all parts add up to 1.
        score: unit of its image score.
        map: unit of its map.
    """

    pooling: Pooling
    weight: float
    score: Unit
    map: Unit


@dataclass(frozen=True)
class Fusion:
    """The parts of the combined score, by the name of the score whose map each takes."""

    parts: Mapping[str, Part]

    @classmethod
    def choose(cls, normal: AnomalyMaps, auroc: PlantedAuroc, names: Collection[str]) -> "Fusion":
        """Return the parts of these scores.

        Args:
            normal: maps of held-out normal images.
            auroc: as `planted_auroc` gives it.
            names: of the scores that are to have a part.
        """
        pooling = {name: best_pooling(auroc[name]) for name in names}
        weight = weights({name: auroc[name][pooling[name]] for name in names})
        return cls(
            {
                name: Part(
                    pooling=pooling[name],
                    weight=weight[name],
                    score=Unit.of(image_scores(normal[name], pooling[name])),
                    map=Unit.of(image_scores(normal[name], MAP_POOLING)),
                )
                for name in names
            }
        )

    def map(self, maps: Mapping[str, Float[AnyArray, "n h w"]]) -> Float[AnyArray, "n h w"]:
        """Return the combined map of maps by name."""
        return self._sum({name: part.map.apply(maps[name]) for name, part in self.parts.items()})

    def scores(self, maps: Mapping[str, Float[AnyArray, "n h w"]]) -> Float[AnyArray, " n"]:
        """Return the combined image score of maps by name."""
        return self._sum(
            {
                name: part.score.apply(image_scores(maps[name], part.pooling))
                for name, part in self.parts.items()
            }
        )

    def _sum(self, values: Mapping[str, Any]) -> Any:
        first, *others = (part.weight * values[name] for name, part in self.parts.items())
        return sum(others, first)

    def to_json(self) -> dict[str, Any]:
        """Return the parts as JSON values."""
        return {
            name: {**asdict(part), "score": list(part.score), "map": list(part.map)}
            for name, part in self.parts.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Fusion":
        """Return the parts that `to_json` described.

        Raises:
            KeyError, TypeError, ValueError: a value is missing or cannot be used.
        """
        parts: dict[str, Part] = {}
        for name, own in values.items():
            score, map_ = (Unit(*map(float, own[unit])) for unit in ("score", "map"))
            in_range = own["weight"] >= 0 and min(score.sd, map_.sd) > 0
            if not (in_range and np.isfinite([own["weight"], *score, *map_]).all()):
                raise ValueError(f"a number of the part {name} is out of range")
            parts[name] = Part(own["pooling"], own["weight"], score, map_)
        return cls(parts)


def weights(auroc: Mapping[str, float], *, exponent: int = SHARPNESS) -> dict[str, float]:
    """Return the weight of each part, (2 A - 1)**`exponent` over their sum.

    They are equal if no part finds synthetic defects better than by chance.

    Args:
        auroc: image AUROC A of synthetic defects, by part.
        exponent: the higher, the more the best parts weigh.
    """
    evidence = {name: max(2 * own - 1, 0) for name, own in auroc.items()}
    if not any(evidence.values()):
        evidence = dict.fromkeys(auroc, 1.0)
    total = sum(own**exponent for own in evidence.values())
    return {name: own**exponent / total for name, own in evidence.items()}


def planted_auroc(
    normal: AnomalyMaps, planted: PlantedMaps, *, poolings: Sequence[Pooling] = POOLINGS
) -> PlantedAuroc:
    """Return the image AUROC of synthetic defects, by score and pooling.

    Args:
        normal: maps of held-out images.
        planted: maps of copies with a synthetic defect.
        poolings: to compare.
    """
    return {
        name: {
            pooling: area(*(image_scores(maps[name], pooling) for maps in (normal, planted)))
            for pooling in poolings
        }
        for name in normal
    }


def area(normal: Float[np.ndarray, " n"], planted: Float[np.ndarray, " m"]) -> float:
    """Return the AUROC of scores of normal images and of synthetic defects."""
    from sklearn.metrics import roc_auc_score  # slow to import, and loading a run needs none of it

    labels = np.repeat([0, 1], [len(normal), len(planted)])
    return float(roc_auc_score(labels, np.concatenate([normal, planted])))


def best_pooling(auroc: Mapping[str, float]) -> Any:
    """Return the pooling with the highest AUROC, the first of equal ones."""
    return max(auroc, key=auroc.__getitem__)

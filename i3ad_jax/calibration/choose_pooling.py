"""Which pooling and which score to trust, by the defects planted in held-out normal images.

Planted defects are few, and not those that will come: what finds a few more of them is taken only
where chance would hardly explain it. Otherwise stays what is least partial: all calibrated maps
together, pooled so that neither a single pixel nor the whole image decides.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np

from i3ad_jax.scoring.maps import (
    COMBINED,
    PLAIN,
    POOLINGS,
    SCORES,
    AnomalyMaps,
    PlantedMaps,
    Pooling,
    image_scores,
)

Choice = TypeVar("Choice", bound=str)


def choose_poolings(
    normal: AnomalyMaps, planted: PlantedMaps, pooling: Literal["auto"] | Pooling
) -> tuple[dict[str, Pooling], dict[str, dict[str, float]]]:
    """How each score is pooled, and the image AUROC of planted defects by score and pooling.

    Args:
        normal: maps of held-out images.
        planted: maps of copies with a planted defect.
        pooling: of the scores that are not plain; "auto" chooses it. Plain scores are means, as in
            the paper.
    """
    from sklearn.metrics import roc_auc_score  # slow to import, and loading a run needs none of it

    auroc: dict[str, dict[str, float]] = {}
    chosen: dict[str, Pooling] = {}
    for name in normal:
        plain = SCORES[name] in PLAIN
        candidates: Sequence[Pooling] = (
            ("mean",) if plain else POOLINGS if pooling == "auto" else (pooling,)
        )
        auroc[name] = {}
        for candidate in candidates:
            scores = [image_scores(maps[name], candidate) for maps in (normal, planted)]
            labels = np.repeat([0, 1], [len(each) for each in scores])
            auroc[name][candidate] = float(roc_auc_score(labels, np.concatenate(scores)))
        count = min(len(normal[name]), len(planted[name]))
        chosen[name] = clearly_best({each: auroc[name][each] for each in candidates}, count)
    return chosen, auroc


def choose_headline(
    pooling: Mapping[str, Pooling], auroc: Mapping[str, Mapping[str, float]], count: int
) -> str:
    """The score to trust: the combined one unless another finds clearly more planted defects.

    That of a segmentation network alone never is: it learned from planted defects, so those planted
    here say too much for it.

    Args:
        pooling: of each score, as `choose_poolings` gives it.
        auroc: by score and pooling, as `choose_poolings` gives it.
        count: of the normal images or of the planted defects, whichever are fewer.
    """
    names = [name for name in pooling if SCORES[name].needs != "segmentation"]
    names.sort(key=lambda name: name != COMBINED.name)
    return clearly_best({name: auroc[name][pooling[name]] for name in names}, count)


def clearly_best(auroc: Mapping[Choice, float], count: int) -> Choice:
    """The first choice, or the best one if it is better by more than a standard error.

    The standard error is that of a proportion among `count` images, which an AUROC's does not
    exceed.
    """
    first, best = next(iter(auroc)), max(auroc, key=auroc.__getitem__)
    error = math.sqrt(auroc[first] * (1 - auroc[first]) / count)
    return best if auroc[best] - auroc[first] > error else first

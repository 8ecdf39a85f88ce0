"""Which pooling and which score find most of the defects that are planted in held-out normal images."""

from typing import Literal

import numpy as np
from sklearn.metrics import roc_auc_score

from i3ad_jax.scoring.maps import PLAIN, POOLINGS, SCORES, AnomalyMaps, Pooling, image_scores


def choose_poolings(
    normal: AnomalyMaps, planted: AnomalyMaps, pooling: Literal["auto"] | Pooling
) -> tuple[dict[str, Pooling], dict[str, dict[str, float]]]:
    """How each score is pooled, and the image AUROC of planted defects by score and pooling.

    Plain scores are means, as in the paper; `pooling` is that of the others, "auto" the best for each.
    """
    auroc: dict[str, dict[str, float]] = {}
    chosen: dict[str, Pooling] = {}
    for name in normal:
        plain = SCORES[name] in PLAIN
        candidates = ("mean",) if plain else POOLINGS if pooling == "auto" else (pooling,)
        auroc[name] = {}
        for candidate in candidates:
            scores = [image_scores(maps[name], candidate) for maps in (normal, planted)]
            labels = np.repeat([0, 1], [len(each) for each in scores])
            auroc[name][candidate] = float(roc_auc_score(labels, np.concatenate(scores)))
        chosen[name] = max(candidates, key=auroc[name].__getitem__)
    return chosen, auroc

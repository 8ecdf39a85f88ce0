"""Classes of defects whose scores are those of normal images, which may be normal ones."""

from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Num
from scipy.stats import mannwhitneyu

from i3ad_jax.data.dataset import NORMAL

LEAST = 8  # images of a class, and normal ones: fewer tell too little
_SIGNIFICANT = 0.05


def classes_like_normal(
    scores: Num[np.ndarray, " n"], defects: Sequence[str], *, among: Collection[str]
) -> list[str]:
    """Return the classes whose scores do not differ from those of the normal images.

    By a two-sided Mann-Whitney test at the 5 % level, which asks whether the AUROC is 0.5. A class
    of fewer than `LEAST` images is never returned.

    Args:
        scores: of images.
        defects: their classes.
        among: the classes that are compared.
    """
    classes = np.array(defects)
    normal = scores[classes == NORMAL]
    found = []
    for name in sorted(among):
        own = scores[classes == name]
        enough = min(len(own), len(normal)) >= LEAST
        # Where all scores are one, SciPy's p-value is 1 or, from 1.18 on, not a number.
        if enough and not mannwhitneyu(own, normal).pvalue <= _SIGNIFICANT:
            found.append(name)
    return found

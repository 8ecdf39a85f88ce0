"""Labels: which names of classes are normal."""

from collections.abc import Collection

from i3ad_jax.data.dataset import NORMAL

NORMAL_NAMES = frozenset({NORMAL, "ok", "normal", "pass", "passed", "0"})
"""Names of the class of normal images, in any case, besides the user's own."""


def defect_class(label: str, *, normal: Collection[str] = ()) -> str:
    """Return the defect class that a label, or the name of a folder, stands for.

    Args:
        label: as the data set has it.
        normal: further labels of normal images.
    """
    return NORMAL if label in normal or label.strip().casefold() in NORMAL_NAMES else label

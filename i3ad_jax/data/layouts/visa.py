"""The layout of VisA (Zou et al. 2022) as it is published, read category by category.

    VISA/CATEGORY/Data/Images/Normal/*        normal images
    VISA/CATEGORY/Data/Images/Anomaly/*       defective ones
    VISA/CATEGORY/Data/Masks/Anomaly/*        their masks, whose values are numbers of kinds of
                                              defects
    VISA/split_csv/1cls.csv                   object,split,label,image,mask: which of them serve
                                              what

The root of a data set is VISA/CATEGORY; its split is found beside it. Defective images are of the
class "anomaly".

There is no `tfds:visa`: TensorFlow Datasets has no builder of VisA, nor of any data set with a
layout here (that of MVTec AD is this package's own). A builder would only copy the files, which are
read from the folder directly.
"""

import os
from pathlib import Path

from i3ad_jax.data.layouts.layout import Layout, Listing, exists
from i3ad_jax.data.layouts.manifest import Row, list_rows, read_csv
from i3ad_jax.errors import InputError

SPLIT = "split_csv/1cls.csv"


class Visa(Layout):
    """A category's folder, with the split of all categories beside it."""

    signs = ("Data/Images",)

    def matches(self, root: Path) -> bool:
        """See `Layout`. The folder of all categories matches too: an error says what to name."""
        return super().matches(root) or (root.is_dir() and exists(root, SPLIT))

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        if exists(root, SPLIT):
            raise InputError(
                f"{root}: holds the categories of VisA; name one of them, such as {root}/candle"
            )
        root = Path(os.path.abspath(root))  # noqa: PTH100 (has a name even if it is ".", and keeps links)
        table = root.parent / SPLIT
        if not exists(root.parent, SPLIT):
            raise InputError(
                f"{table}: no such file; the split of {root} is read from it: put it there"
            )
        rows, objects = [], set()
        for where, cells in read_csv(table, ("object", "split", "label", "image", "mask")):
            objects.add(cells["object"])
            if cells["object"] == root.name:
                rows.append(
                    Row(where, cells["image"], cells["split"], cells["label"], cells["mask"])
                )
        if not rows:
            known = ", ".join(sorted(objects)) or "none"
            raise InputError(
                f"{table}: no rows of {root.name}; name the folder after one of: {known}"
            )
        return list_rows(rows, folder=root.parent, mask_values="nonzero")

"""The layout `folders`: a folder of normal images beside one of defective images.

    ROOT/good/*                 normal images
    ROOT/bad/*                  defective images, of a class of this name
    ROOT/bad/CLASS/*            defective images of one class
    ROOT/masks/STEM.*           the mask of the image STEM.*; STEM_mask.* and masks/CLASS/STEM.* are
                                accepted too, and so is ROOT/bad/masks

The folders are found by their usual names, in any case (`labels.NORMAL_NAMES`, `DEFECTIVE_NAMES`,
`FOLDER_NAMES`), or named by `--normal`, `--anomalous` and `--masks`.

There is no official split, so a fifth of the normal images is tested on together with all defective
ones: those whose paths have the smallest SHA-256. Images that are added later hardly move others
from one part to the other. Without defective images all normal ones are trained on.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.labels import defect_class
from i3ad_jax.data.layouts.layout import (
    Layout,
    Listing,
    Report,
    by_path,
    locate,
    pair_masks_by_stem,
    refuse,
    stems_of_mask,
)
from i3ad_jax.data.masks import MaskValues
from i3ad_jax.data.samples import Sample
from i3ad_jax.data.search import list_folder
from i3ad_jax.errors import InputError

DEFECTIVE_NAMES = frozenset(
    {
        *("bad", "defect", "defects", "defective", "anomaly", "anomalies", "anomalous"),
        *("abnormal", "ng", "nok", "ko", "not_ok", "not_good", "fail", "failed", "faulty"),
        *("reject", "rejected", "1"),
    }
)
"""Names of folders of defective images, in any case."""
_DEFECT = "defect"  # class of defective images whose folder has a name of normal ones
_MASKS = "ground_truth"
_ONE_IN = 5  # normal images is tested on


@dataclass(frozen=True)
class NormalAndDefective(Layout):
    """A folder of normal images beside one of defective images.

    Attributes:
        normal: the folder of normal images, relative to the root; None finds it by its name.
        anomalous: the same of defective images. It may be the root itself, whose other folders are
            classes.
        masks: the same of masks.
        normal_names: further names of folders of normal images.
    """

    signs = ("good", "bad")
    normal: str | None = None
    anomalous: str | None = None
    masks: str | None = None
    normal_names: tuple[str, ...] = ()

    def matches(self, root: Path) -> bool:
        """See `Layout`; it has no names that only its folders have."""
        del root
        return False

    def resembles(self, root: Path) -> bool:
        """See `Layout`."""
        return root.is_dir() and bool(self._normal(root) and self._defective(root))

    def lacks(self, root: Path) -> str | None:
        """See `Layout`."""
        if normal := self._normal(root):
            name = normal[0].relative_to(root)
            return (
                f"no folder of defective images, such as bad, is beside {name}; name one with"
                f" --normal {name} --anomalous DIR"
            )
        if defective := self._defective(root):
            name = defective[0].relative_to(root)
            return (
                f"no folder of normal images, such as good, is beside {name}; name one with"
                " --normal DIR"
            )
        return None

    def with_normal(self, names: tuple[str, ...]) -> Layout:
        """See `Layout`."""
        return replace(self, normal_names=names)

    def no_train(self, root: Path) -> str:
        """See `Layout`."""
        return super().no_train((self._normal(root) or [root / NORMAL])[0])

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        return self.list_matching(root, refuse)

    def list_matching(self, root: Path, report: Report) -> Listing:
        """See `Layout`."""
        mask_folders = self._masks(root)
        left_out = {os.path.realpath(f) for f in (*self._normal(root), *mask_folders)}
        normal = [image for folder in self._normal(root) for image in list_folder(folder).images]
        defective: dict[Path, str] = {}
        for folder in self._defective(root):
            images, classes, _ = list_folder(folder)
            if os.path.realpath(folder) != os.path.realpath(root):
                defective |= dict.fromkeys(images, self._class_of(folder))
            for each in classes:
                if os.path.realpath(each) not in left_out:
                    defective |= dict.fromkeys(list_folder(each).images, self._class_of(each))
        masks = _pair_masks(mask_folders, normal, defective, report)

        def samples(images: Collection[Path]) -> list[Sample]:
            return by_path(
                [
                    Sample(_path(x, root), defective.get(x, NORMAL), x, masks.get(x, ()))
                    for x in images
                ]
            )

        ranked = sorted(normal, key=lambda image: _rank(_path(image, root)))
        count = max(len(ranked) // _ONE_IN, 1) if defective and len(ranked) > 1 else 0
        return Listing(samples(ranked[count:]), samples([*ranked[:count], *defective]))

    def _normal(self, root: Path) -> list[Path]:
        """Return the folders of normal images, each one that exists."""
        if self.normal is not None:
            return [_named(root, self.normal, "--normal")]
        return [
            folder
            for folder in list_folder(root).folders
            if defect_class(folder.name, normal=self.normal_names) == NORMAL
        ]

    def _defective(self, root: Path) -> list[Path]:
        """Return the folders of defective images."""
        if self.anomalous is not None:
            return [_named(root, self.anomalous, "--anomalous")]
        if self.normal is not None:
            return []
        return [f for f in list_folder(root).folders if f.name.casefold() in DEFECTIVE_NAMES]

    def _masks(self, root: Path) -> list[Path]:
        """Return the folders of masks."""
        if self.masks is not None:
            return [_named(root, self.masks, "--masks")]
        if self.normal is not None:
            return []
        places = (locate(folder, _MASKS) for folder in (root, *self._defective(root)))
        return [place for place in places if place.is_dir()]

    def _class_of(self, folder: Path) -> str:
        """Return the class of the defective images in a folder, which may have any name."""
        is_normal = defect_class(folder.name, normal=self.normal_names) == NORMAL
        return _DEFECT if is_normal else folder.name


def _named(root: Path, path: str, option: str) -> Path:
    """Return a folder that an option names.

    Raises:
        InputError: it does not exist.
    """
    folder = Path(os.path.normpath(root / path))
    if not folder.is_dir():
        hint = mask_values_hint(folder.name) if option == "--masks" else None
        raise InputError(f"{option} {path}: no such folder in {root}; {hint or 'name another'}")
    return folder


def mask_values_hint(folder: str) -> str | None:
    """Return what to do about a folder of masks that has the name of a value of `--mask-values`."""
    values = folder in get_args(MaskValues)
    return f"for the values of masks give --mask-values {folder}" if values else None


def _path(image: Path, root: Path) -> str:
    return Path(os.path.relpath(image, root)).as_posix()


def _rank(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


def _pair_masks(
    folders: list[Path], normal: list[Path], defective: Collection[Path], report: Report
) -> dict[Path, tuple[Path, ...]]:
    """Return the mask of each image that has one; stems of defective images come first."""
    of_defective, of_normal = defaultdict(list), defaultdict(list)
    for by_stem, images in ((of_defective, defective), (of_normal, normal)):
        for image in images:
            by_stem[image.stem].append(image)

    def owners(mask: Path, *, of_class: bool) -> list[Path]:
        for by_stem in (of_defective, of_normal):
            found = sorted({image for stem in stems_of_mask(mask) for image in by_stem[stem]})
            folder = mask.parent.name.casefold()
            own = [image for image in found if image.parent.name.casefold() == folder]
            if chosen := (own if of_class and own else found):
                return chosen
        return []

    place = "the folders of images"
    listed = [list_folder(folder) for folder in folders]
    found = [(mask, owners(mask, of_class=False), place) for each in listed for mask in each.images]
    for each in listed:
        for folder in each.folders:
            found += [(m, owners(m, of_class=True), place) for m in list_folder(folder).images]
    return pair_masks_by_stem(found, report)

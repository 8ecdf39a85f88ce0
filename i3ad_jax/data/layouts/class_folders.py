"""Layouts with a folder for each class: MVTec AD, MVTec AD 2 and BTAD.

    ROOT/TRAIN/*                          normal images to learn from
    ROOT/TEST/NORMAL/*                    normal images to test on
    ROOT/TEST/CLASS/*                     defective images of one class
    ROOT/GROUND_TRUTH/CLASS/STEM_mask.*   the mask of TEST/CLASS/STEM.*; STEM.* is accepted too

What the capitals stand for is in the table of layouts: for MVTec AD `train/good`, `test`, `good`
and `ground_truth`. Names may be written in any case and have the variants of `FOLDER_NAMES`, and
the folders of normal images those of `labels.NORMAL_NAMES`. Masks are optional, and so are either
everything under TEST or everything under TRAIN.

MVTec AD 2 (and MVTec LOCO AD) have normal images for validation too. They join the training images:
which images are held out from training, to choose thresholds by, is decided in one way for all data
sets, by `--held-out`. So more images are learned from than by the protocol of these data sets. Of
the test images of MVTec AD 2 the public ones are read; the truth of the private ones is not
published.

Sources: Bergmann et al. 2019 (MVTec AD), Heckler-Kram et al. 2025 (MVTec AD 2), Mishra et al. 2021
(BTAD).
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.labels import defect_class
from i3ad_jax.data.layouts.layout import (
    Layout,
    Listing,
    Mismatch,
    Report,
    by_path,
    exists,
    locate,
    pair_masks_by_stem,
    refuse,
    stems_of_mask,
)
from i3ad_jax.data.masks import MaskValues
from i3ad_jax.data.samples import Sample
from i3ad_jax.data.search import list_folder


@dataclass(frozen=True)
class ClassFolders(Layout):
    """A folder for each class, masks in folders of the same names.

    Attributes:
        signs: see `Layout`.
        train: the folders of normal images to learn from.
        test: the folder with the folders of classes.
        ground_truth: the folder with the folders of masks.
        normal: the name of the folder of normal test images.
        normal_names: further names of folders of normal images.
        mask_values: numbers in masks that are a defect, as for `read_mask`.
    """

    signs: tuple[str, ...] = (f"train/{NORMAL}",)
    train: tuple[str, ...] = (f"train/{NORMAL}",)
    test: str = "test"
    ground_truth: str = "ground_truth"
    normal: str = NORMAL
    normal_names: tuple[str, ...] = ()
    mask_values: ClassVar[MaskValues] = "auto"

    def resembles(self, root: Path) -> bool:
        """See `Layout`; test images are enough."""
        if self.normal != NORMAL or not root.is_dir():  # `train/ok` is BTAD's, by no other name
            return False
        has_train = any(folder.is_dir() for folder in self._train_folders(root, self.train[0]))
        test = locate(root, self.test)
        classes = list_folder(test).folders if test.is_dir() else []
        has_test = any(list_folder(folder).images for folder in classes)
        signs = (sign for sign in self.signs if sign not in self.train)
        return (has_train or has_test) and all(exists(root, sign) for sign in signs)

    def lacks(self, root: Path) -> str | None:
        """See `Layout`."""
        train = locate(root, self.train[0].partition("/")[0])
        if self.normal != NORMAL or not train.is_dir():
            return None
        folder = (train / self.normal).relative_to(root)
        there = "put normal images there, or name their folder with --normal DIR"
        return f"{folder} has no images; {there}"

    def with_normal(self, names: tuple[str, ...]) -> Layout:
        """See `Layout`."""
        return replace(self, normal_names=names)

    def no_train(self, root: Path) -> str:
        """See `Layout`."""
        return super().no_train(self._train_folders(root, self.train[0])[0])

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        return self.list_matching(root, refuse)

    def list_matching(self, root: Path, report: Report) -> Listing:
        """See `Layout`."""
        folders = [folder for path in self.train for folder in self._train_folders(root, path)]
        train = [image for folder in folders for image in list_folder(folder).images]
        return Listing(
            by_path([Sample(image.relative_to(root).as_posix(), NORMAL, image) for image in train]),
            self._list_test(root, report),
        )

    def masks_folder(self, root: Path) -> Path:
        """Return the folder of masks: one of another name must have a folder of a test class."""
        folder = locate(root, self.ground_truth)
        classes, own = (
            {each.name.casefold() for each in list_folder(place).folders}
            for place in (locate(root, self.test), folder)
        )
        has_name = folder.name.casefold() == self.ground_truth.rpartition("/")[2]
        return folder if has_name or classes & own else root / self.ground_truth

    def _train_folders(self, root: Path, path: str) -> list[Path]:
        """Return the folders of normal images: that of this path, or else all of other names."""
        above, _, name = path.rpartition("/")
        folder = locate(root, above)
        if exists(folder, name):
            return [folder / name]
        normal = [f for f in list_folder(folder).folders if self._class_of(f) == NORMAL]
        return normal or [folder / name]

    def _class_of(self, folder: Path) -> str:
        if folder.name == self.normal:
            return NORMAL
        return defect_class(folder.name, normal=self.normal_names)

    def _list_test(self, root: Path, report: Report) -> list[Sample]:
        test, ground_truth = locate(root, self.test), self.masks_folder(root)
        loose, classes, _ = list_folder(test)
        for image in loose:
            place = (test / self.normal).relative_to(root)
            report(Mismatch("loose_image", image, f"move it to a folder of its class, as {place}"))
        folders = [folder for folder in classes if folder != ground_truth]
        images = [image for folder in folders for image in list_folder(folder).images]
        masks = self.pair_masks(root, images, report)
        return by_path(
            [
                Sample(
                    image.relative_to(root).as_posix(),
                    self._class_of(image.parent),
                    image,
                    masks.get(image, ()),
                    self.mask_values,
                )
                for image in images
            ]
        )

    def pair_masks(
        self, root: Path, images: list[Path], report: Report
    ) -> dict[Path, tuple[Path, ...]]:
        """The masks of each test image that has any, found by class and stem.

        Args:
            root: of the data set.
            images: the test images.
            report: is given each mask that has no image or several, or whose image has a mask
                already.
        """
        by_stem = defaultdict(list)
        for image in images:
            by_stem[image.parent.name.casefold(), image.stem].append(image)
        loose, classes, _ = list_folder(self.masks_folder(root))
        masks = loose + [file for folder in classes for file in list_folder(folder).images]

        def owners(mask: Path) -> list[Path]:
            defect = mask.parent.name.casefold()
            return sorted(image for stem in stems_of_mask(mask) for image in by_stem[defect, stem])

        test = locate(root, self.test).relative_to(root)
        found = ((mask, owners(mask), f"{test / mask.parent.name}") for mask in masks)
        return pair_masks_by_stem(found, report)

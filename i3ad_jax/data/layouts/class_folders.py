"""Layouts with a folder for each class: MVTec AD, MVTec AD 2 and BTAD.

    ROOT/TRAIN/*                          normal images to learn from
    ROOT/TEST/NORMAL/*                    normal images to test on
    ROOT/TEST/CLASS/*                     defective images of one class
    ROOT/GROUND_TRUTH/CLASS/STEM_mask.*   the mask of TEST/CLASS/STEM.*; STEM.* is accepted too

What the capitals stand for is in the table of layouts: for MVTec AD `train/good`, `test`, `good`
and `ground_truth`. Masks are optional, and so is everything under TEST.

MVTec AD 2 (and MVTec LOCO AD) have normal images for validation too. They join the training images:
which images are held out from training, to choose thresholds by, is decided in one way for all data
sets, by `--held-out`. So more images are learned from than by the protocol of these data sets. Of
the test images of MVTec AD 2 the public ones are read; the truth of the private ones is not
published.

Sources: Bergmann et al. 2019 (MVTec AD), Heckler-Kram et al. 2025 (MVTec AD 2), Mishra et al. 2021
(BTAD).
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.layouts.layout import (
    Layout,
    Listing,
    Mismatch,
    Report,
    by_path,
    refuse,
)
from i3ad_jax.data.masks import MaskValues
from i3ad_jax.data.samples import Sample
from i3ad_jax.data.search import list_folder
from i3ad_jax.errors import InputError


@dataclass(frozen=True)
class ClassFolders(Layout):
    """A folder for each class, masks in folders of the same names.

    Attributes:
        signs: see `Layout`.
        train: the folders of normal images to learn from; the first must have some.
        test: the folder with the folders of classes.
        ground_truth: the folder with the folders of masks.
        normal: the name of the folder of normal test images.
        mask_values: numbers in masks that are a defect, as for `read_mask`.
    """

    signs: tuple[str, ...] = (f"train/{NORMAL}",)
    train: tuple[str, ...] = (f"train/{NORMAL}",)
    test: str = "test"
    ground_truth: str = "ground_truth"
    normal: str = NORMAL
    mask_values: ClassVar[MaskValues] = "auto"

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        return self.list_matching(root, refuse)

    def list_matching(self, root: Path, report: Report) -> Listing:
        """See `Layout`."""
        train, *more = (list_folder(root / folder).images for folder in self.train)
        if not train:
            folder = root / self.train[0]
            raise InputError(f"{folder}: no images; put the normal images to learn from there")
        for images in more:
            train += images
        return Listing(
            by_path([Sample(image.relative_to(root).as_posix(), NORMAL, image) for image in train]),
            self._list_test(root, report),
        )

    def _list_test(self, root: Path, report: Report) -> list[Sample]:
        loose, classes, _ = list_folder(root / self.test)
        for image in loose:
            problem = f"move it to a folder of its class, such as {self.test}/{self.normal}"
            report(Mismatch("loose_image", image, problem))
        folders = [folder for folder in classes if folder != root / self.ground_truth]
        images = [image for folder in folders for image in list_folder(folder).images]
        masks = self.pair_masks(root, images, report)
        return by_path(
            [
                Sample(
                    image.relative_to(root).as_posix(),
                    NORMAL if image.parent.name == self.normal else image.parent.name,
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
            by_stem[image.parent.name, image.stem].append(image)
        loose, classes, _ = list_folder(root / self.ground_truth)
        masks: dict[Path, tuple[Path, ...]] = {}
        for mask in loose + [file for folder in classes for file in list_folder(folder).images]:
            defect, stems = mask.parent.name, {mask.stem, mask.stem.removesuffix("_mask")}
            owners = sorted(image for stem in stems for image in by_stem[defect, stem])
            place = f"{self.test}/{defect}"
            if not owners:
                problem = f"no image of that name in {place}; rename or remove the mask"
                report(Mismatch("mask_without_image", mask, problem))
            elif len(owners) > 1:
                both = " and ".join(owner.name for owner in owners[:2])
                problem = f"could belong to {both} in {place}; rename one of them"
                report(Mismatch("ambiguous_mask", mask, problem))
            elif owners[0] in masks:
                problem = f"{owners[0].name} has another mask, {masks[owners[0]][0]}; remove one"
                report(Mismatch("second_mask", mask, problem))
            else:
                masks[owners[0]] = (mask,)
        return masks

"""The layout of MVTec LOCO AD (Bergmann et al. 2022), whose images have several masks.

    ROOT/train/good/*                        normal images to learn from
    ROOT/validation/good/*                   more of them, see `class_folders`
    ROOT/test/CLASS/*                        CLASS is good, logical_anomalies or
                                             structural_anomalies
    ROOT/ground_truth/CLASS/STEM/000.png     the masks of test/CLASS/STEM.*, one for each defect

A pixel is defective where any of the masks is not 0: their values are numbers of kinds of defects.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.layouts.class_folders import ClassFolders
from i3ad_jax.data.layouts.layout import Mismatch, Report
from i3ad_jax.data.masks import MaskValues
from i3ad_jax.data.search import list_folder


@dataclass(frozen=True)
class MvtecLoco(ClassFolders):
    """A folder for each class, and one for the masks of each image."""

    signs: tuple[str, ...] = (f"train/{NORMAL}", "test/logical_anomalies")
    train: tuple[str, ...] = (f"train/{NORMAL}", f"validation/{NORMAL}")
    mask_values: ClassVar[MaskValues] = "nonzero"

    def pair_masks(
        self, root: Path, images: list[Path], report: Report
    ) -> dict[Path, tuple[Path, ...]]:
        """See `ClassFolders`; all masks in the folder of an image are its own."""
        owners: dict[tuple[str, str], Path] = {}
        for image in images:
            other = owners.setdefault((image.parent.name, image.stem), image)
            if other != image:
                problem = f"{other.name} would have the same masks; rename one of them"
                report(Mismatch("ambiguous_mask", image, problem))
        masks: dict[Path, tuple[Path, ...]] = {}
        for folder in list_folder(self.masks_folder(root)).folders:
            loose, own, _ = list_folder(folder)
            for mask in loose:
                problem = (
                    "masks must be in a folder named after their image; move it there, or read all"
                    " with --layout mvtec"
                )
                report(Mismatch("loose_mask", mask, problem))
            for place in own:
                found = list_folder(place).images
                if (folder.name, place.name) not in owners:
                    problem = (
                        f"no image of that name in {self.test}/{folder.name}; rename or remove it"
                    )
                    report(Mismatch("mask_without_image", place, problem))
                elif not found:
                    problem = "no masks; put them there or remove the folder"
                    report(Mismatch("mask_without_image", place, problem))
                else:
                    masks[owners[folder.name, place.name]] = tuple(found)
        return masks

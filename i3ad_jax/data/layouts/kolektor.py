"""The layouts of KolektorSDD (Tabernik et al. 2019) and KolektorSDD2 (Božič et al. 2021).

    ROOT/kosNN/PartN.jpg, PartN_label.bmp     KolektorSDD: a folder for each item, a picture for
                                              each surface
    ROOT/train/NNNNN.png, NNNNN_GT.png        KolektorSDD2, and the same in ROOT/test

Each image has a mask, and is defective (class "defect") where that is not 0 everywhere. Copies that
file managers make beside their originals are left out: the published KolektorSDD2 has `train/10301
(copy).png` and `train/10301_GT (copy).png`.

KolektorSDD has no official split for learning from normal images alone, and all of its items have a
defective surface. The split here: of the first four fifths of the items by name, the normal
surfaces are trained on; those of the others are tested on, and so are all defective ones. So no
item has normal surfaces in both. Of KolektorSDD2 the official split is used; the defective images
of its training split are left out.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.layouts.layout import Layout, Listing, Mismatch, Report, by_path, refuse
from i3ad_jax.data.masks import read_mask
from i3ad_jax.data.samples import Sample
from i3ad_jax.data.search import list_folder
from i3ad_jax.errors import InputError

DEFECT = "defect"
_COPY = re.compile(r" (\(copy\)|\(copy \d+\)|\(\d+\)|- Copy)$", re.IGNORECASE)


class _LabelledByMasks(Layout):
    """Images whose labels are their masks."""

    def no_train(self, root: Path) -> str:
        """See `Layout`."""
        return f"{root}: no image to train on has a mask that is 0 everywhere; some must"

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        return self.list_matching(root, refuse)


class KolektorSdd(_LabelledByMasks):
    """Folders of items with images and masks."""

    signs = ("kos*/*_label.bmp",)

    def list_matching(self, root: Path, report: Report) -> Listing:
        """See `Layout`."""
        folders = [folder for folder in list_folder(root).folders if folder.name.startswith("kos")]
        items = [_labelled(root, folder, "_label", report) for folder in folders]
        first = max(len(items) * 4 // 5, 1)
        train, rest = (
            [s for item in part for s in item] for part in (items[:first], items[first:])
        )
        return _listing(train, rest + [sample for sample in train if sample.defect != NORMAL])


class KolektorSdd2(_LabelledByMasks):
    """Two folders with images and masks."""

    signs = ("train/*_GT.png",)

    def list_matching(self, root: Path, report: Report) -> Listing:
        """See `Layout`."""
        return _listing(
            *(_labelled(root, root / split, "_GT", report) for split in ("train", "test"))
        )


def _listing(train: list[Sample], test: list[Sample]) -> Listing:
    """The normal ones of `train`, and all of `test`."""
    return Listing(by_path([s for s in train if s.defect == NORMAL]), by_path(test))


def _originals(folder: Path, report: Report) -> list[Path]:
    """Return the files in a folder without copies, which are given to `report`."""
    files = list_folder(folder).images
    names = {file.name for file in files}
    copies = {file: f"{_COPY.sub('', file.stem)}{file.suffix}" for file in files}
    copies = {file: name for file, name in copies.items() if name != file.name and name in names}
    for file, name in copies.items():
        report(Mismatch("stray_copy", file, f"is a copy of {name} and left out; remove it"))
    return [file for file in files if file not in copies]


def _labelled(root: Path, folder: Path, ending: str, report: Report) -> list[Sample]:
    """The images in a folder, each with the mask that has its stem and this ending."""
    files = _originals(folder, report)
    masks = {file.stem.removesuffix(ending): file for file in files if file.stem.endswith(ending)}
    images = [file for file in files if not file.stem.endswith(ending)]
    stems = {image.stem for image in images}
    for image in images:
        if image.stem not in masks:
            needed = f"{image.stem}{ending}, 0 everywhere if it has no defect"
            raise InputError(f"{image}: its mask is missing; add {needed}")
    for stem, mask in masks.items():
        if stem not in stems:
            raise InputError(f"{mask}: no image {stem} beside it; rename or remove the mask")
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        defective = pool.map(
            lambda image: read_mask(masks[image.stem], values="nonzero").any(), images
        )
        return [
            Sample(
                image.relative_to(root).as_posix(),
                DEFECT if has_defect else NORMAL,
                image,
                (masks[image.stem],),
                mask_values="nonzero",
            )
            for image, has_defect in zip(images, defective, strict=True)
        ]

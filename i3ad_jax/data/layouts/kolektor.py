"""The layouts of KolektorSDD (Tabernik et al. 2019) and KolektorSDD2 (Božič et al. 2021).

    ROOT/kosNN/PartN.jpg, PartN_label.bmp     KolektorSDD: a folder for each item, a picture for
                                              each surface
    ROOT/train/NNNNN.png, NNNNN_GT.png        KolektorSDD2, and the same in ROOT/test

Each image has a mask, and is defective (class "defect") where that is not 0 everywhere.

KolektorSDD has no official split for learning from normal images alone, and all of its items have a
defective surface. The split here: of the first four fifths of the items by name, the normal
surfaces are trained on; those of the others are tested on, and so are all defective ones. So no
item has normal surfaces in both. Of KolektorSDD2 the official split is used; the defective images
of its training split are left out.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.layouts.layout import Layout, Listing, by_path
from i3ad_jax.data.masks import read_mask
from i3ad_jax.data.samples import Sample
from i3ad_jax.data.search import list_folder
from i3ad_jax.errors import InputError

DEFECT = "defect"


class KolektorSdd(Layout):
    """Folders of items with images and masks."""

    signs = ("kos*/*_label.bmp",)

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        folders = [folder for folder in list_folder(root).folders if folder.name.startswith("kos")]
        items = [_labelled(root, folder, "_label") for folder in folders]
        first = max(len(items) * 4 // 5, 1)
        train, rest = (
            [s for item in part for s in item] for part in (items[:first], items[first:])
        )
        return _listing(root, train, rest + [sample for sample in train if sample.defect != NORMAL])


class KolektorSdd2(Layout):
    """Two folders with images and masks."""

    signs = ("train/*_GT.png",)

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        return _listing(
            root, *(_labelled(root, root / split, "_GT") for split in ("train", "test"))
        )


def _listing(root: Path, train: list[Sample], test: list[Sample]) -> Listing:
    """The normal ones of `train`, and all of `test`."""
    normal = [sample for sample in train if sample.defect == NORMAL]
    if not normal:
        raise InputError(f"{root}: no image to train on has a mask that is 0 everywhere; some must")
    return Listing(by_path(normal), by_path(test))


def _labelled(root: Path, folder: Path, ending: str) -> list[Sample]:
    """The images in a folder, each with the mask that has its stem and this ending."""
    files = list_folder(folder).images
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

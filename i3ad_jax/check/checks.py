"""The checks of a data set.

To add one: a function from the records of a data set to findings, and its name in `CHECKS`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from i3ad_jax.check.findings import Finding
from i3ad_jax.check.likeness import thumbnail_scores
from i3ad_jax.check.records import Mask, Record, Records
from i3ad_jax.check.repeats import same_images, similar_images
from i3ad_jax.data.samples import unused_range
from i3ad_jax.data.search import ignored_files
from i3ad_jax.scoring.like_normal import classes_like_normal

Check = Callable[[Records], Iterator[Finding]]

OTHER_IMAGES = (
    *(".avif", ".cr2", ".dcm", ".dng", ".exr", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".nef"),
    *(".npy", ".pgm", ".ppm", ".raw"),
)
"""Suffixes of image files that are not read."""
MASK_WORDS = ("annot", "groundtruth", "ground_truth", "label", "mask", "truth")
"""Parts of names of folders that may hold masks."""
PROPORTIONS_DIFFER = 1.25  # times the median ratio of width to height: more than a trimmed border


def unreadable_images(records: Records) -> Iterator[Finding]:
    """Files that cannot be decoded."""
    for record in records.images:
        if record.problem is not None:
            yield Finding("error", "broken_image", (record.path,), record.problem)


def too_few_images(records: Records) -> Iterator[Finding]:
    """A training requires two normal images, one of which it holds out."""
    if (count := len(records.readable("train"))) < 2:
        yield Finding(
            "error",
            "too_few_images",
            (),
            f"{count} readable training image(s); at least 2 are needed",
        )


def mismatched_files(records: Records) -> Iterator[Finding]:
    """Images that are of no class, masks that are not the only one of one image, and copies."""
    for kind, file, problem in records.mismatches:
        severity = "note" if kind == "stray_copy" else "error"
        yield Finding(severity, kind, (file.as_posix(),), f"{file.as_posix()}: {problem}")


def unused_files(records: Records) -> Iterator[Finding]:
    """Images that a user would expect to be used."""
    left_out = records.left_out
    if (problem := left_out.problem()) is not None:
        yield Finding("warning", "left_out_images", (), problem)
    for problem in left_out.unreadable:
        yield Finding("warning", "unreadable_folder", (), problem)
    for suffix in OTHER_IMAGES:
        if count := left_out.ignored[ignored_files(suffix)]:
            message = f"{count} {suffix} files are not read; convert them to PNG"
            yield Finding("warning", "other_image_types", (), message)
    masked = any(record.masks for record in records.images if not record.normal)
    for folder, count in sorted(left_out.elsewhere.items()):
        if not masked and any(word in folder.casefold() for word in MASK_WORDS):
            message = (
                f"{count} images in {folder} are not used; if they are masks, rename the folder to"
                " ground_truth, with a folder for each class"
            )
            yield Finding("warning", "unused_masks", (), message)


def unused_depth(records: Records) -> Iterator[Finding]:
    """16-bit images that use so little of their range that they are nearly black."""
    images = records.readable()
    if (problem := unused_range([pixels.peak for _, pixels in images])) is not None:
        yield Finding("warning", "unused_range", (), problem)


def doubtful_masks(records: Records) -> Iterator[Finding]:
    """Masks whose values may not mean what they are read as."""
    masks = [
        (record, mask)
        for record in records.images
        if not record.normal
        for mask in record.masks
        if mask.size is not None
    ]
    drawn = [mask for _, mask in masks if 0 < mask.marked < 1]
    large = sum(mask.marked > 0.5 for mask in drawn)
    around = sum(mask.border > 0.95 and mask.marked < mask.border for mask in drawn)
    if drawn and (2 * large > len(drawn) or around >= 0.9 * len(drawn)):
        found = (
            f"more than half of the image in {large}"
            if 2 * large > len(drawn)
            else f"the border of the image in {around}"
        )
        message = (
            f"masks mark {found} of {len(drawn)} cases; if defects are dark in them, give"
            " --mask-values inverted"
        )
        yield Finding("warning", "inverted_masks", (), message)
    if lossy := tuple(mask.path for _, mask in masks if mask.lossy):
        message = (
            f"{len(lossy)} masks have lossy compression, which blurs their borders, and are cut at"
            f" the middle of their range, the first is {lossy[0]}; PNG keeps numbers"
        )
        yield Finding("note", "lossy_masks", lossy, message)


def normal_class_of_another_name(records: Records) -> Iterator[Finding]:
    """Find classes without masks, while others have them, that look like the normal images."""
    defective = [record for record in records.images if not record.normal]
    masked = {record.defect for record in defective if record.masks}
    without = {record.defect for record in defective} - masked
    if not masked or not without:
        return
    for defect in classes_like_normal(*thumbnail_scores(records), among=without):
        files = tuple(record.path for record in defective if record.defect == defect)
        message = (
            f"class {defect} ({len(files)} images) has no masks, other classes have, and looks like"
            f" the normal images; if it is normal, give --normal-class {defect}"
        )
        yield Finding("warning", "class_like_normal", files, message)


def unfit_masks(records: Records) -> Iterator[Finding]:
    """Masks that cannot be read, or that do not belong to their image as they are."""
    for record in records.images:
        for mask in record.masks:
            if (unfit := _unfit(record, mask)) is not None:
                kind, problem = unfit
                yield Finding("error", kind, (record.path, mask.path), problem)


def missing_masks(records: Records) -> Iterator[Finding]:
    """Defective images without a mask: all of them is a choice, some are an oversight."""
    defective = [record for record in records.images if not record.normal]
    without = [record for record in defective if not record.masks]
    if defective and len(without) == len(defective):
        message = "no defective image has a mask: only image metrics can be computed"
        yield Finding("note", "no_masks", (), message)
        return
    for record in without:
        message = f"{record.path}: has no mask, but other defective images have one; add it"
        yield Finding("error", "missing_mask", (record.path,), message)


def repeated_images(records: Records) -> Iterator[Finding]:
    """Images with equal pixels, within a split and across."""
    for group in same_images(records.readable()):
        files, shown = tuple(record.path for record in group), _listed(group)
        if len({record.part for record in group}) > 1:
            message = f"{shown}: the same pixels to train on and to test on; keep them in one split"
            yield Finding("error", "leakage", files, message)
        if len({record.normal for record in group}) > 1:
            message = f"{shown}: the same pixels are called normal and defective; correct one"
            yield Finding("error", "contradictory_labels", files, message)
        elif len({record.part for record in group}) == 1:
            message = f"{shown}: the same pixels, so they count {len(group)} times; keep one"
            yield Finding("warning", "duplicate", files, message)


def nearly_repeated_images(records: Records) -> Iterator[Finding]:
    """Find images that agree in what tells them from all others.

    They show the same scene, or one is a changed copy of the other.
    """
    for group in similar_images(records.readable()):
        files, shown = tuple(record.path for record in group), _listed(group)
        if len({record.part for record in group}) > 1:
            message = (
                f"{shown}: nearly the same picture to train on and to test on; results may flatter"
            )
            yield Finding("warning", "near_leakage", files, message)
        else:
            yield Finding("note", "near_duplicate", files, f"{shown}: nearly the same picture")


def mixed_colour(records: Records) -> Iterator[Finding]:
    """Grey images among coloured ones: a method takes the lack of colour for a defect."""
    images = records.readable()
    grey = tuple(record.path for record, pixels in images if not pixels.colour)
    coloured = tuple(record.path for record, pixels in images if pixels.colour)
    if grey and coloured:
        fewer, name = (grey, "grey") if len(grey) <= len(coloured) else (coloured, "coloured")
        message = (
            f"{len(fewer)} of {len(images)} images are {name}, the others are not, the first is"
            f" {fewer[0]}: colour will pass for a defect; convert all to one kind"
        )
        yield Finding("warning", "mixed_colour", fewer, message)


def different_proportions(records: Records) -> Iterator[Finding]:
    """Images that lose their proportions where all are brought to one size."""
    images = records.readable()
    if not images:
        return
    ratios = np.array([pixels.size[1] / pixels.size[0] for _, pixels in images])
    off = np.abs(np.log(ratios / np.median(ratios))) > np.log(PROPORTIONS_DIFFER)
    if off.any():
        files = tuple(
            record.path for (record, _), differs in zip(images, off, strict=True) if differs
        )
        message = (
            f"width over height is {ratios.min():.2f} to {ratios.max():.2f},"
            f" {np.median(ratios):.2f} in the median, and {len(files)} images are far from it;"
            " --aspect pad or crop keeps proportions"
        )
        yield Finding("note", "different_proportions", files, message)


def one_sided_test(records: Records) -> Iterator[Finding]:
    """A test without normal or without defective images tells no AUROC."""
    test = [record for record in records.images if record.part == "test"]
    missing = {"normal", "defective"} - {
        "normal" if record.normal else "defective" for record in test
    }
    if not test:
        message = "no test images: a training works, but nothing is measured"
        yield Finding("note", "no_test_images", (), message)
    elif missing:
        message = f"no {missing.pop()} test images: neither AUROC nor AUPRO can be computed"
        yield Finding("warning", "one_sided_test", (), message)


CHECKS: Sequence[Check] = (
    unreadable_images,
    too_few_images,
    mismatched_files,
    unused_files,
    unused_depth,
    unfit_masks,
    missing_masks,
    doubtful_masks,
    normal_class_of_another_name,
    repeated_images,
    nearly_repeated_images,
    mixed_colour,
    different_proportions,
    one_sided_test,
)


def _unfit(record: Record, mask: Mask) -> tuple[str, str] | None:
    """The kind of what is wrong with a mask, and the message."""
    if mask.size is None:
        return "broken_mask", str(mask.problem)
    if record.pixels is not None and mask.size != record.pixels.size:
        sizes = [f"{width} x {height}" for height, width in (mask.size, record.pixels.size)]
        problem = f"{sizes[0]} pixels, but its image has {sizes[1]}; give the mask its image's size"
        return "mask_size", f"{mask.path}: {problem}"
    if record.normal:
        problem = "marks a defect in a normal image; correct one or remove the mask"
        return ("mask_of_normal_image", f"{mask.path}: {problem}") if mask.marked else None
    if mask.marked == 0:
        return "empty_mask", f"{mask.path}: marks no pixel of a defective image; draw the defect"
    if mask.marked == 1:
        return "full_mask", f"{mask.path}: marks every pixel; draw the defect alone"
    return None


def _listed(group: Sequence[Record]) -> str:
    """The paths of some images: the first few of many."""
    paths = [record.path for record in group]
    return ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")

"""A data set packed into few files at a training's sizes: nothing left to decode or resize.

    packed.json               name, aspect, sizes, and the SHA-256 of each small file; written last
    train.csv, test.csv       path, defect, annotated, hash, height, width: a row for each image
    64x64/train_images.npy    uint8, `n h w 3`; train_images.crc32.npy has a checksum of each row
    64x64/test_images.npy     likewise, and test_masks.npy, bool, `n h w`

It is the data set that it was made of: paths, hashes and original sizes are those of its files.
Rows are read from the file, so images need not fit in memory or come in order.
"""

import csv
import io
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from i3ad_jax.data.dataset import Dataset, Split, content_hash
from i3ad_jax.data.decoder import FULL_DEPTH
from i3ad_jax.data.files import open_file
from i3ad_jax.data.images import Aspect, Size
from i3ad_jax.data.stored import Rows, StoredArray, zeros
from i3ad_jax.errors import InputError
from i3ad_jax.runtime.disk import make_folder, sync, whole
from i3ad_jax.runtime.memory import allowed

_MARK = "packed.json"
_COLUMNS = ("path", "defect", "annotated", "hash", "height", "width")
_AGAIN = "pack the data again"


class PackWriter:
    """A folder that a data set is packed into; `finish` makes it one that can be read."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError if there is packed data already."""
        if is_packed(folder):
            raise InputError(f"--out {folder}: holds packed data already; name another folder")
        make_folder(folder)
        self._folder, self._sizes, self._digests = folder, [], {}

    def add(self, data: Dataset) -> None:
        """Packs the data set in another working size, that of these images."""
        size = data.train.images.shape[1:3]
        (self._folder / _name(size)).mkdir(exist_ok=True)
        for part, split in (("train", data.train), ("test", data.test)):
            self._write_table(f"{part}.csv", split)
            self._write_rows(f"{_name(size)}/{part}_images", split.images)
        self._write_rows(f"{_name(size)}/test_masks", data.test.masks)
        self._sizes.append(size)

    def finish(self, name: str, *, aspect: Aspect, bit_depth: int = FULL_DEPTH) -> None:
        """Makes what was packed readable.

        Args:
            name: of the data set.
            aspect: rule by which its images were brought to their sizes.
            bit_depth: bits that its 16-bit images use.
        """
        values = {
            "name": name,
            "aspect": aspect,
            "bit_depth": bit_depth,
            "sizes": self._sizes,
            "sha256": self._digests,
        }
        sync(self._folder)  # what was packed is on the disk before the mark says so
        with whole(self._folder / _MARK) as temporary:
            temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")

    def _write_table(self, name: str, split: Split) -> None:
        heights, widths = zip(*split.original_sizes, strict=True) if len(split) else ((), ())
        rows = zip(
            split.paths,
            split.defects,
            map(int, split.annotated),
            split.hashes,
            heights,
            widths,
            strict=True,
        )
        with (self._folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([_COLUMNS, *rows])
        self._record(name)

    def _write_rows(self, name: str, rows: Rows) -> None:
        stored = StoredArray.create(self._folder / f"{name}.npy", rows.shape, rows.dtype)
        checksums = np.zeros(len(rows), np.uint32)
        for number, row in enumerate(rows):
            stored[number] = row
            checksums[number] = zlib.crc32(np.ascontiguousarray(row).data)
        np.save(self._folder / f"{name}.crc32.npy", checksums)
        self._record(f"{name}.crc32.npy")

    def _record(self, name: str) -> None:
        self._digests[name] = content_hash((self._folder / name).read_bytes())


def is_packed(folder: Path) -> bool:
    """Return whether a folder holds a packed data set."""
    return (folder / _MARK).is_file()


def read_packed(
    folder: Path,
    *,
    size: Size,
    aspect: Aspect,
    bit_depth: int = FULL_DEPTH,
    memory: int | None = None,
) -> Dataset:
    """The data set that was packed into a folder.

    Args:
        folder: for which `is_packed` holds.
        size: of the images, one of the packed sizes.
        aspect: as they were packed, unless they are square.
        bit_depth: as they were packed.
        memory: bytes that the images of a split may take there, by default half of what is free;
            more are read from the file.

    Raises:
        InputError: it was packed with another size, aspect or bit depth, or a file is missing or
            damaged.
    """
    mark = folder / _MARK
    try:
        with open_file(mark) as opened:
            values = json.loads(opened.read().decode("utf-8"))
        name, packed_aspect, digests = str(values["name"]), values["aspect"], dict(values["sha256"])
        sizes = [(int(height), int(width)) for height, width in values["sizes"]]
        if packed_aspect not in get_args(Aspect) or not sizes:
            raise ValueError(f"aspect {packed_aspect!r}, sizes {sizes}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{mark}: damaged ({' '.join(str(error).split())}); {_AGAIN}") from error
    if (packed_depth := values.get("bit_depth", FULL_DEPTH)) != bit_depth:
        raise InputError(
            f"--bit-depth {bit_depth}: {folder} was packed with --bit-depth {packed_depth};"
            f" {_AGAIN}"
        )
    if packed_aspect != aspect:
        raise InputError(
            f"--aspect {aspect}: {folder} was packed with --aspect {packed_aspect}; {_AGAIN}"
        )
    if size not in sizes:
        packed = " and ".join(map(_name, sizes))
        raise InputError(
            f"{folder}: was packed at {packed}, but {_name(size)} is needed; {_AGAIN} with the"
            " settings of the training"
        )
    return Dataset(
        name,
        *(_read_split(folder, part, size, digests, allowed(memory)) for part in ("train", "test")),
    )


def _read_split(folder: Path, part: str, size: Size, digests: dict[str, Any], memory: int) -> Split:
    table = _checked(folder, f"{part}.csv", digests).decode("utf-8")
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    arrays = {
        kind: f"{_name(size)}/{part}_{kind}" for kind in ("images", "masks")[: 1 + (part == "test")]
    }
    stored = {kind: _open(folder, name, digests) for kind, name in arrays.items()}
    for kind, array in stored.items():
        if array.shape[:3] != (len(rows), *size):
            raise InputError(
                f"{folder / arrays[kind]}.npy: is not of the images in {part}.csv; {_AGAIN}"
            )
    in_memory = stored["images"].nbytes <= memory
    split = Split(
        images=stored["images"],
        paths=tuple(row["path"] for row in rows),
        defects=tuple(row["defect"] for row in rows),
        # Normal images to learn from have no masks: the file of zeros takes no place on the disk.
        masks=stored.get("masks", zeros((len(rows), *size), bool, in_memory=in_memory)),
        annotated=np.array([row["annotated"] == "1" for row in rows], bool),
        hashes=tuple(row["hash"] for row in rows),
        original_sizes=tuple((int(row["height"]), int(row["width"])) for row in rows),
    )
    return split.in_memory() if in_memory else split


def _open(folder: Path, name: str, digests: dict[str, Any]) -> StoredArray:
    _checked(folder, f"{name}.crc32.npy", digests)
    checksums = StoredArray.open(folder / f"{name}.crc32.npy")[:]
    return StoredArray.open(folder / f"{name}.npy", checksums=checksums)


def _checked(folder: Path, name: str, digests: dict[str, Any]) -> bytes:
    """The content of a small file, which is what was packed."""
    file = folder / name
    try:
        with open_file(file) as opened:
            content = opened.read()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {_AGAIN}") from error
    if content_hash(content) != digests.get(name):
        raise InputError(f"{file}: has changed since it was packed; {_AGAIN}")
    return content


def _name(size: Iterable[int]) -> str:
    return "x".join(map(str, size))

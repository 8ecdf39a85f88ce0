"""Results of commands, reduced to what does not depend on the names and codings of files."""

import csv
import hashlib
from pathlib import Path, PurePath

import numpy as np

Meaning = tuple[tuple[str, ...], ...]
SCORES, TESTED = "predictions.csv", "scores.csv"
_NAMES_OF_FILES = frozenset({"path", "map", "picture"})


def meaning(out: Path) -> Meaning | None:
    """Return the meaning of the result in a folder; None if it has none that is known.

    Of predictions, the cells of each image that name no file, beside the image's stem if there are
    several; likewise of a test. Of packed data, split, class, annotation, size, pixels and mask of
    each image.
    """
    for table in (SCORES, TESTED):
        if (out / table).exists():
            return _rows(out / table)
    if (out / "packed.json").exists():
        return tuple(sorted(row for part in ("train", "test") for row in _packed(out, part)))
    return None


def _rows(table: Path) -> Meaning:
    rows = _read(table)
    several = len(rows) > 1
    return tuple(
        sorted(
            (
                PurePath(row.get("path", "")).stem if several else "",
                *(f"{name}={cell}" for name, cell in row.items() if name not in _NAMES_OF_FILES),
            )
            for row in rows
        )
    )


def _packed(out: Path, part: str) -> list[tuple[str, ...]]:
    (size,) = (folder for folder in out.iterdir() if folder.is_dir())
    arrays = [np.load(size / f"{part}_images.npy")]
    if part == "test":
        arrays.append(np.load(size / "test_masks.npy"))
    return [
        (
            *(part, row["defect"], row["annotated"], row["height"], row["width"]),
            *(hashlib.sha256(array[number].tobytes()).hexdigest()[:16] for array in arrays),
        )
        for number, row in enumerate(_read(out / f"{part}.csv"))
    ]


def _read(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))

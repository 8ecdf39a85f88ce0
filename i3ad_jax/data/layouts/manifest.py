"""Data sets that a table lists: a CSV or Parquet file with one row for each image.

    path      of the image, relative to the table's folder
    split     train or test
    label     good, 0 or another of `labels.NORMAL_NAMES` for a normal image, anything else the name
              of its class of defects
    mask      of the image, relative to the table's folder; empty where there is none. The column
              is optional

Other columns are ignored. Only normal images are trained on.
"""

import csv
import io
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from i3ad_jax.data.dataset import NORMAL
from i3ad_jax.data.files import open_file
from i3ad_jax.data.labels import defect_class
from i3ad_jax.data.layouts.layout import Layout, Listing, by_path
from i3ad_jax.data.masks import MaskValues
from i3ad_jax.data.samples import Sample
from i3ad_jax.errors import InputError

Cells = dict[str, str]


class Row(NamedTuple):
    """Row of a table for an image.

    Attributes:
        where: the table and the row, for messages.
        path, split, label, mask: see the module's docstring; `mask` is empty where there is none.
    """

    where: str
    path: str
    split: str
    label: str
    mask: str


@dataclass(frozen=True)
class Manifest(Layout):
    """A table of images.

    Attributes:
        signs: see `Layout`.
        normal_names: further labels of normal images.
    """

    signs: tuple[str, ...] = ("a .csv or .parquet file",)
    normal_names: tuple[str, ...] = ()
    is_file: ClassVar[bool] = True

    def matches(self, root: Path) -> bool:
        """See `Layout`."""
        return root.is_file() and root.suffix.lower() in (".csv", ".parquet")

    def list_samples(self, root: Path) -> Listing:
        """See `Layout`."""
        read = read_parquet if root.suffix.lower() == ".parquet" else read_csv
        cells = read(root, ("path", "split", "label"), optional=("mask",))
        rows = (
            Row(where, c["path"], c["split"], c["label"], c.get("mask", "")) for where, c in cells
        )
        return list_rows(rows, folder=root.parent, normal=self.normal_names)

    def with_normal(self, names: tuple[str, ...]) -> Layout:
        """See `Layout`."""
        return replace(self, normal_names=names)

    def no_train(self, root: Path) -> str:
        """See `Layout`."""
        return f"{root}: no row of the split train; list the normal images to learn from"


def list_rows(
    rows: Iterable[Row],
    *,
    folder: Path,
    normal: Sequence[str] = (),
    mask_values: MaskValues = "auto",
) -> Listing:
    """The samples that the rows of a table describe.

    Args:
        rows: in any order.
        folder: folder that paths are relative to.
        normal: labels of normal images beside the usual ones.
        mask_values: numbers in masks that are a defect, as for `read_mask`.

    Raises:
        InputError: a cell cannot be used, a file does not exist, or an image is listed twice.
    """
    splits: dict[str, list[Sample]] = {"train": [], "test": []}
    listed: dict[str, str] = {}
    for where, path, split, label, mask in rows:
        if not path or not label:
            raise InputError(
                f"{where}: {'label' if path else 'path'} is empty; fill it in or remove the row"
            )
        if split not in splits:
            raise InputError(f"{where}: split {split!r} is unknown; give train or test")
        defect = defect_class(label, normal=normal)
        if split == "train" and defect != NORMAL:
            raise InputError(
                f"{where}: {label!r} in train; only normal images (good or 0) are trained on: move"
                f" it to test, or give --normal-class {label}"
            )
        for name in filter(None, (path, mask)):
            if not os.path.isfile(folder / name):  # noqa: PTH113 (Path.is_file raises where a name is too long)
                raise InputError(
                    f"{where}: {folder / name}: no such file; correct the row or add the file"
                )
        path = posixpath.normpath(path)
        if path in listed:
            raise InputError(f"{where}: {path} is in {listed[path]} too; remove one")
        listed[path] = where
        masks = (folder / mask,) if mask else ()
        splits[split].append(Sample(path, defect, folder / path, masks, mask_values))
    return Listing(by_path(splits["train"]), by_path(splits["test"]))


def read_csv(
    file: Path, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> Iterator[tuple[str, Cells]]:
    """The rows of a CSV file with a header, in UTF-8: where each stands, and its cells by column.

    Spaces around a cell do not count.

    Raises:
        InputError: a column is missing, or the file cannot be read.
    """
    try:
        with io.TextIOWrapper(open_file(file), encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            reader.fieldnames = header = [name.strip() for name in reader.fieldnames or ()]
            found = _present(file, header, columns, optional)
            for row in reader:
                where = f"{file}: line {reader.line_num}"
                if None in row:
                    raise InputError(
                        f"{where}: more cells than columns; quote a cell with a comma in it"
                    )
                yield where, {name: (row[name] or "").strip() for name in found}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(file, error) from error


def read_parquet(
    file: Path, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> Iterator[tuple[str, Cells]]:
    """The rows of a Parquet file, as `read_csv` gives them; whole numbers become text.

    Raises:
        InputError: a column is missing or of another type, pyarrow is not installed, or the file
            cannot be read.
    """
    try:
        import pyarrow
        from pyarrow import parquet, types
    except ImportError as error:
        raise InputError(
            f"{file}: needs pyarrow; pip install 'i3ad_jax[parquet]', or give a CSV"
        ) from error
    try:
        with open_file(file) as content, parquet.ParquetFile(content) as opened:
            names = _present(file, opened.schema_arrow.names, columns, optional)
            table: Any = opened.read(columns=names)
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(file, error) from error
    for field in table.schema:
        kind: Any = field.type.value_type if types.is_dictionary(field.type) else field.type
        text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        if not (text or types.is_integer(kind) or types.is_null(kind)):
            raise InputError(
                f"{file}: column {field.name} holds {kind}; give text or whole numbers"
            )
    for number, row in enumerate(table.to_pylist(), start=1):
        cells = {name: "" if value is None else str(value).strip() for name, value in row.items()}
        yield f"{file}: row {number}", cells


def _present(
    file: Path, found: list[str], columns: Sequence[str], optional: Sequence[str]
) -> list[str]:
    """All of `columns`, and those of `optional` that are there."""
    for name in columns:
        if name not in found:
            names, needed = ", ".join(found) or "none", ", ".join(columns)
            raise InputError(f"{file}: no column {name!r}; needs {needed}, and has {names}")
    return [*columns, *(name for name in optional if name in found)]


def _unreadable(file: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return InputError(f"{file}: cannot be read ({reason}); replace the file")

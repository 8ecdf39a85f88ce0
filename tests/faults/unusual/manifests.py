"""Tables of images as programs write them."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from tests.faults.case import Case, Expected

from .made import IMAGES, packed

Row = dict[str, str]
_COLUMNS = ("path", "split", "label", "mask")


def rows(normal: str = "good") -> list[Row]:
    """Return the rows of the data set; `normal` is the label of normal images."""
    found = []
    for path in IMAGES:
        split, folder, name = path.split("/")
        defective = folder == "spot"
        mask = f"ground_truth/spot/{name[0]}_mask.png" if defective else ""
        label = folder if defective else normal
        found.append({"path": path, "split": split, "label": label, "mask": mask})
    return found


def table(
    found: list[Row] | None = None, columns: tuple[str, ...] = _COLUMNS, **options: Any
) -> str:
    """Return the text of a table."""
    file = io.StringIO(newline="")
    options.setdefault("lineterminator", "\n")
    writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="x", **options)
    writer.writeheader()
    writer.writerows(rows() if found is None else found)
    return file.getvalue()


def _each(change: Callable[[Row], Row]) -> str:
    return table([change(row) for row in rows()])


_WITH_CELLS = (*_COLUMNS, "camera", "")
# Text of the table, how it must end, and what a refusal has to say.
_TABLES: Mapping[str, tuple[Callable[[], str | bytes], Expected, str]] = {
    "plain": (table, "equal", ""),
    "crlf": (lambda: table(lineterminator="\r\n"), "equal", ""),
    "bom": (lambda: table().encode("utf-8-sig"), "equal", ""),
    "bom-crlf": (lambda: table(lineterminator="\r\n").encode("utf-8-sig"), "equal", ""),
    "quoted": (lambda: table(quoting=csv.QUOTE_ALL), "equal", ""),
    "no-newline-at-end": (lambda: table().rstrip("\n"), "equal", ""),
    "blank-lines": (lambda: table() + "\n\n", "equal", ""),
    "blank-lines-between": (lambda: table().replace("\n", "\n\n"), "equal", ""),
    "carriage-returns": (lambda: table(lineterminator="\r"), "equal", ""),
    "other-order": (lambda: table(columns=("mask", "label", "path", "split")), "equal", ""),
    "more-columns": (lambda: table(columns=_WITH_CELLS), "equal", ""),
    "rows-backwards": (lambda: table(rows()[::-1]), "equal", ""),
    "spaces-around": (lambda: table().replace(",", " , "), "equal", ""),
    "tabs-around": (lambda: table().replace(",", "\t,\t"), "equal", ""),
    "semicolons": (lambda: table(delimiter=";"), "refused", "column 'path' has"),
    "tabs": (lambda: table(delimiter="\t"), "refused", "column 'path' has"),
    "upper-header": (lambda: table().replace("path,split", "Path,Split"), "same", "column 'path'"),
    "no-header": (lambda: table().partition("\n")[2], "refused", "column 'path'"),
    "utf-16": (lambda: table().encode("utf-16"), "refused", "cannot be read"),
    "upper-split": (lambda: table().replace(",train,", ",TRAIN,"), "same", "split 'TRAIN'"),
    "other-split": (lambda: table().replace(",test,", ",val,"), "refused", "split 'val'"),
    "backslashes": (
        lambda: _each(lambda row: {**row, "path": row["path"].replace("/", "\\")}),
        "same",
        "no such file",
    ),
    "dots": (lambda: _each(lambda row: {**row, "path": f"./{row['path']}"}), "equal", ""),
    "up-and-down": (lambda: _each(lambda row: {**row, "path": f"x/../{row['path']}"}), "same",
                    "no such file"),
    "double-slashes": (
        lambda: _each(lambda row: {**row, "path": row["path"].replace("/", "//")}), "equal", ""),
    "defects-of-any-name": (lambda: table().replace(",good,", ",0,"), "equal", ""),
    "defect-in-train": (lambda: table().replace("train,good", "train,spot"), "refused", "'spot'"),
    "twice": (lambda: table(rows() + rows()[:1]), "refused", "too; remove one"),
    "twice-in-two-ways": (
        lambda: table([*rows(), {**rows()[0], "path": "./" + rows()[0]["path"]}]),
        "refused",
        "too; remove one",
    ),
    "empty-label": (lambda: table().replace(",good,", ",,"), "refused", "label is empty"),
    "cells-missing": (lambda: table().replace(",good,\n", ",good\n"), "equal", ""),
    "cells-too-many": (lambda: table().replace(",good,\n", ",good,,,\n"), "same", "more cells"),
    "comment": (lambda: "# made by a program\n" + table(), "refused", "column 'path'"),
    "nan-masks": (lambda: table().replace(",good,\n", ",good,nan\n"), "same", "no such file"),
}  # fmt: skip
_LABELS = (
    "0",
    "Good",
    "GOOD",
    "OK",
    "ok",
    "normal",
    "Normal",
    "NORMAL",
    "pass",
    "passed",
    " good ",
)
_TYPES: Mapping[str, pyarrow.DataType] = {
    "string": pyarrow.string(),
    "large-string": pyarrow.large_string(),
    "dictionary": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
}


def cases() -> Iterator[Case]:
    """Cases of a table that is packed, in the folder of the data set."""
    for name, (text, expected, cause) in _TABLES.items():
        yield _case(name, "parts.csv", text, expected, cause)
    for label in _LABELS:
        yield _case(
            f"label-{label}", "parts.csv", lambda label=label: table(rows(label)),
            "equal", "",
        )  # fmt: skip
        yield _case(
            f"label-{label}-in-test", "parts.csv",
            lambda label=label: table(rows()[:8] + rows(label)[8:]), "equal", "",
        )  # fmt: skip
    for file in ("parts.CSV", "my parts.csv", "\u00e4.csv", "train.csv", "data/parts.csv"):
        yield _case(f"called-{ascii(file)[1:-1]}", file, table, "equal", "")
    for name, kind in _TYPES.items():
        for compression in ("none", "snappy", "zstd"):
            content = _parquet(kind, compression)
            yield _case(f"parquet-{name}-{compression}", "parts.parquet", content, "equal", "")
    yield _case("parquet-whole-numbers", "p.parquet", _numbers, "accepted", "")
    yield _case("parquet-nulls", "p.parquet", _parquet(pyarrow.string(), "none", null=True),
                "equal", "")  # fmt: skip
    yield _case("parquet-called-csv", "p.csv", _parquet(pyarrow.string(), "none"), "refused", "")


def _case(
    name: str, file: str, text: Callable[[], str | bytes], expected: Expected, cause: str
) -> Case:
    def change(data: Path) -> None:
        place = data / file
        content = text()
        if place.parent != data:
            place.parent.mkdir()
            for folder in ("train", "test", "ground_truth"):
                (data / folder).rename(place.parent / folder)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())

    return packed(
        f"manifest/{name}", change, data=f"data/{file}", expected=expected, cause=cause,
        named=f"{Path(file).name} {Path(file).parent}/",
    )  # fmt: skip


def _parquet(kind: Any, compression: str, *, null: bool = False) -> Callable[[], bytes]:
    def content() -> bytes:
        columns = {
            name: pyarrow.array([row[name] or (None if null else "") for row in rows()]).cast(kind)
            for name in _COLUMNS
        }
        return _stored(pyarrow.table(columns), compression)

    return content


def _numbers() -> bytes:
    """Return a table whose labels are whole numbers; 0 is normal."""
    found = [{**row, "label": int(row["label"] != "good")} for row in rows()]
    columns = {name: [row[name] for row in found] for name in _COLUMNS}
    return _stored(pyarrow.table(columns), "snappy")


def _stored(table_: Any, compression: str) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table_, file, compression=compression)
    return file.getvalue()

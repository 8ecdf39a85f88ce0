"""Small files, each whole or not at all."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from i3ad_jax.data.stored import Rows, StoredArray
from i3ad_jax.errors import InputError


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: the file is missing or damaged, or holds something else.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{file}: missing; {file.parent} is no finished run, train it first") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{file}: holds no JSON object; restore it or train a new run")
    return values


def read_array(file: Path) -> np.ndarray:
    """The array in a file of NumPy's format.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: cannot be read ({error})") from error


def write_text(file: Path, text: str) -> None:
    """Puts `text` in `file`, whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8", newline="")
    temporary.replace(file)


def append_line(file: Path, values: dict[str, Any]) -> None:
    """Adds one line of JSON to `file`."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(values) + "\n")


def write_json(file: Path, values: Any) -> None:
    """Puts `values` in `file` as JSON, whole or not at all."""
    write_text(file, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_array(file: Path, values: Rows) -> None:
    """Puts an array in `file` in NumPy's format, whole or not at all."""
    temporary = file.with_name(f".{os.getpid()}.{file.name}")  # np.save insists on its suffix
    if isinstance(values, StoredArray):
        values.save(temporary)
    else:
        np.save(temporary, values, allow_pickle=False)
    temporary.replace(file)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Puts a table in `file`, whole or not at all; numbers keep all their digits."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(file, table.getvalue())

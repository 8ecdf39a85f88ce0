"""Small files, each whole or not at all."""

import csv
import io
import json
import math
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from i3ad_jax.data.files import open_file, read_header
from i3ad_jax.data.stored import Rows, StoredArray
from i3ad_jax.errors import InputError


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: the file is missing or damaged, or holds something else.
    """
    try:
        with open_file(file) as opened:
            values = json.loads(opened.read().decode("utf-8"))
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
        with open_file(file) as opened:
            shape, _, dtype = read_header(opened)
            if math.prod(shape) * dtype.itemsize > file.stat().st_size:
                raise ValueError("it is shorter than its array")
            opened.seek(0)
            return np.load(opened, allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: cannot be read ({reason}); restore it or train a new run") from error


_UNFINISHED = re.compile(r"\.\d+\..+|.+\.orbax-checkpoint-tmp")  # by `whole`, and of Orbax


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A name beside `file` for a file, or for a folder where there is none or an empty one.

    What is there takes the place of `file` at the end of the block, or goes if that fails.
    """
    temporary = file.with_name(f".{os.getpid()}.{file.name}")  # NumPy and Pillow go by the suffix
    try:
        yield temporary
        temporary.replace(file)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what counts
            _remove(temporary)
        raise


def remove_unfinished(paths: Iterable[Path]) -> None:
    """Removes those of the files and folders that a process was writing; it must have been killed."""
    for path in [path for path in paths if _UNFINISHED.fullmatch(path.name)]:
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Puts `text` in `file`, whole or not at all."""
    with whole(file) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def append_line(file: Path, values: dict[str, Any]) -> None:
    """Adds one line of JSON to `file`."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(values) + "\n")


def write_json(file: Path, values: Any) -> None:
    """Puts `values` in `file` as JSON, whole or not at all."""
    write_text(file, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_array(file: Path, values: Rows) -> None:
    """Puts an array in `file` in NumPy's format, whole or not at all."""
    with whole(file) as temporary:
        if isinstance(values, StoredArray):
            values.save(temporary)
        else:
            np.save(temporary, values, allow_pickle=False)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Puts a table in `file`, whole or not at all; numbers keep all their digits."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(file, table.getvalue())

"""Small files, each whole or not at all, also after a power cut."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i3ad_jax.data.dataset import content_hash
from i3ad_jax.data.files import open_file, read_header
from i3ad_jax.data.stored import Rows, StoredArray
from i3ad_jax.errors import InputError
from i3ad_jax.runtime.disk import whole

_DIGEST = "digest"


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: the file is missing or damaged, or holds something else.
    """
    try:
        with open_file(file) as opened:
            values = json.loads(opened.read().decode("utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{file}: missing; {file.parent} is not a finished run, train it first"
        ) from error
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
        raise InputError(
            f"{file}: cannot be read ({reason}); restore it or train a new run"
        ) from error


def file_hash(file: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits, as JSON files keep it of arrays and tables.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open_file(file) as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}); restore it or train a new run"
        ) from error


def write_text(file: Path, text: str) -> None:
    """Puts `text` in `file`, whole or not at all."""
    with whole(file) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def append_line(file: Path, values: dict[str, Any]) -> None:
    """Adds one line of JSON to `file`; a power cut may take it until the file is synced."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(values) + "\n")


def write_json(file: Path, values: Any) -> None:
    """Puts `values` in `file` as JSON, whole or not at all."""
    write_text(file, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_with_digest(file: Path, values: Mapping[str, Any]) -> None:
    """Write `values` to `file` as `write_json` does, with their checksum, for `check_digest`."""
    write_json(file, {**values, _DIGEST: _digest(values)})


def check_digest(values: Mapping[str, Any]) -> None:
    """Raise ValueError if a file's values have changed since `write_with_digest` wrote them.

    To be called at the end of a check: the message of an invalid value is more precise.
    """
    if values.get(_DIGEST) != _digest(without_digest(values)):
        raise ValueError("its values have changed since they were written")


def without_digest(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `write_with_digest` was given, from the content of its file."""
    return {name: own for name, own in values.items() if name != _DIGEST}


def write_array(file: Path, values: Rows) -> None:
    """Puts an array in `file` in NumPy's format, whole or not at all."""
    with whole(file) as temporary:
        if isinstance(values, StoredArray):
            values.save(temporary)
        else:
            np.save(temporary, values, allow_pickle=False)


def write_picture(file: Path, picture: Image.Image, **options: Any) -> None:
    """Puts a picture in `file`, in the format of its suffix, whole or not at all.

    Args:
        file: to write.
        picture: to be written.
        options: of the format, as Pillow takes them.
    """
    with whole(file) as temporary:
        picture.save(temporary, **options)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Puts a table in `file`, whole or not at all; numbers keep all their digits."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(file, table.getvalue())


def _digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of values as JSON, which are the same once they were in a file."""
    return content_hash(json.dumps(values).encode())

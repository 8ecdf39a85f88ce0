"""Arrays with a row for each image, in a file, that need not fit in memory.

Rows are read from the file when they are indexed.
"""

import math
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from i3ad_jax.data.files import open_file, read_header
from i3ad_jax.errors import InputError

_AT_ONCE = 2**24  # bytes that are read together where rows are taken one after the other


class _File:
    """An open file for several threads, closed once no array needs it."""

    def __init__(self, file: Any) -> None:
        self.file, self._lock = file, threading.Lock()

    def read(self, place: int, into: np.ndarray) -> None:
        with self._lock:
            self.file.seek(place)
            if self.file.readinto(into.reshape(-1).view(np.uint8).data) != into.nbytes:
                raise InputError(f"{self.file.name}: has been cut short; restore it")

    def write(self, place: int, values: np.ndarray) -> None:
        with self._lock:
            self.file.seek(place)
            self.file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
            self.file.flush()  # here a full disk can be reported, not where the file is closed

    def __del__(self) -> None:
        with suppress(OSError):
            self.file.close()


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array in a file, whose rows are read as NumPy arrays by indexing.

    An index is a number, a slice or an array of numbers. Several threads may read. What is read
    does not stay in memory, unlike the pages of a `np.memmap`.

    Attributes:
        dtype: as NumPy's.
    """

    dtype: np.dtype
    _row: tuple[int, ...]  # the shape of one
    _rows: Integer[np.ndarray, " n"]  # which ones of the file
    _file: _File
    _start: int = 0  # of the first row in the file, in bytes
    _checksums: Integer[np.ndarray, " m"] | None = None  # CRC-32 of each row in the file

    @classmethod
    def in_temporary_file(cls, shape: tuple[int, ...], dtype: Any) -> "StoredArray":
        """Return an array of zeros in a file without a name.

        The file ends with the array, however the process ends.
        """
        file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the array)
        array = cls(np.dtype(dtype), shape[1:], np.arange(shape[0]), _File(file))
        file.truncate(array.nbytes)
        return array

    @classmethod
    def open(
        cls, path: Path, *, checksums: Integer[np.ndarray, " m"] | None = None
    ) -> "StoredArray":
        """The array in a file of NumPy's format.

        Args:
            path: of the file.
            checksums: CRC-32 of each of its rows, which is checked whenever one is read.

        Raises:
            InputError: the file is missing or damaged.
        """
        try:
            file = _File(open_file(path))
            shape, by_columns, dtype = read_header(file.file)
            if by_columns or not shape:
                raise ValueError("not an array of rows")
            array = cls(dtype, shape[1:], np.arange(shape[0]), file, file.file.tell(), checksums)
            if path.stat().st_size != array._start + array.nbytes:
                raise ValueError("its length is not that of the array")
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from error
        return array

    @classmethod
    def create(cls, path: Path, shape: tuple[int, ...], dtype: Any) -> "StoredArray":
        """An array of zeros in a new file of NumPy's format."""
        dtype = np.dtype(dtype)
        file = path.open("w+b")
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        array = cls(dtype, shape[1:], np.arange(shape[0]), _File(file), file.tell())
        file.truncate(array._start + array.nbytes)
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        return (len(self._rows), *self._row)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 1 + len(self._row)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return len(self) * self._row_bytes

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        together = max(1, _AT_ONCE // max(1, self._row_bytes))
        for first in range(0, len(self), together):
            yield from self[first : first + together]

    def __getitem__(self, index: int | np.integer | slice | list[int] | np.ndarray) -> np.ndarray:
        rows = np.asarray(self._rows[index])
        return self._read(rows[None])[0] if rows.ndim == 0 else self._read(rows)

    def __setitem__(self, index: int | slice, values: np.ndarray) -> None:
        """Writes rows that follow each other in the file."""
        first = int(np.atleast_1d(self._rows[index])[0])
        self._file.write(self._start + first * self._row_bytes, np.asarray(values, self.dtype))

    def take(self, rows: np.ndarray) -> "StoredArray":
        """The array of these rows, in that order, without reading them."""
        return replace(self, _rows=self._rows[rows])

    def save(self, path: Path) -> None:
        """Writes the array to a file of NumPy's format."""
        copy = StoredArray.create(path, self.shape, self.dtype)
        for number, row in enumerate(self):
            copy[number] = row

    @property
    def _row_bytes(self) -> int:
        return math.prod(self._row) * self.dtype.itemsize

    def _read(self, rows: np.ndarray) -> np.ndarray:
        found, first = np.empty((len(rows), *self._row), self.dtype), 0
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            into = found[first : first + len(run)]
            self._file.read(self._start + int(run[0]) * self._row_bytes if len(run) else 0, into)
            first += len(run)
        if self._checksums is not None:
            for row, values in zip(rows, found, strict=True):
                if zlib.crc32(values.data) != self._checksums[row]:
                    raise InputError(
                        f"{self._file.file.name}: row {row} is damaged; pack the data again"
                    )
        return found


Rows = np.ndarray | StoredArray
"""An array with a row for each image, in memory or in a file."""


def zeros(shape: tuple[int, ...], dtype: Any, *, in_memory: bool) -> Rows:
    """An array of zeros in memory, or else in a temporary file."""
    return np.zeros(shape, dtype) if in_memory else StoredArray.in_temporary_file(shape, dtype)


def take(array: Rows, rows: np.ndarray) -> Rows:
    """The array of these rows, in that order, where the array is."""
    return array.take(rows) if isinstance(array, StoredArray) else array[rows]


def some(array: Rows, count: int) -> np.ndarray:
    """At most `count` rows, evenly spaced, or all if there are fewer; in memory."""
    if len(array) <= count:
        return array[:]
    return array[np.linspace(0, len(array) - 1, count).round().astype(int)]

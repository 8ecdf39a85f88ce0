"""Files that a user gives, opened without blocking, with names that can be written.

Opening does not wait for what may never come.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np

from i3ad_jax.errors import InputError


def open_file(path: Path) -> BufferedReader:
    """Opens a file for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe or a device, which may give nothing or never end.
    """
    wait_not = getattr(os, "O_NONBLOCK", 0)
    opener = lambda name, flags: os.open(name, flags | wait_not)  # noqa: E731
    file = open(path, "rb", opener=opener)  # noqa: SIM115 (Path.open takes no opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order (True: by columns) and type of the array in an open file of NumPy's format.

    Raises:
        OSError, ValueError: the file cannot be read, is damaged, or holds objects.
    """
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not version 1.0 of NumPy's format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    except (EOFError, TypeError, SyntaxError, TokenError, RecursionError, OverflowError) as error:
        raise ValueError(
            " ".join(str(error).split())
        ) from error  # NumPy parses the header as Python
    if dtype.hasobject or any(length < 0 for length in shape):
        raise ValueError("holds objects or has no shape")
    return shape, by_columns, dtype


def check_name(path: str | Path) -> None:
    """Raises InputError for a path that no text file can name, since it is not UTF-8."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = str(path).encode("utf-8", "backslashreplace").decode()
        raise InputError(f"{shown}: its name is not UTF-8; rename it") from None

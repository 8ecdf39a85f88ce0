"""Files that a user gives: opened without blocking, headers as NumPy reads them."""

import io
import os
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax.data.files import check_name, open_file, read_header
from i3ad_jax.errors import InputError


def test_a_file_is_opened_and_a_pipe_or_a_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open_file(tmp_path / "file") as file:
        assert file.read() == b"content"
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        with pytest.raises(OSError, match=r"not a regular file|directory|No such file"):
            open_file(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool, ">i4"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0, 5)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_headers_are_those_that_numpy_writes(
    dtype: str, shape: tuple[int, ...], order: str
) -> None:
    array, file = np.zeros(shape, dtype, order=order), io.BytesIO()  # type: ignore[call-overload]
    np.save(file, array)
    start = len(file.getvalue()) - array.nbytes
    file.seek(0)
    by_columns = order == "F" and not array.flags.c_contiguous
    assert read_header(file) == (shape, by_columns, array.dtype)
    assert file.tell() == start


@pytest.mark.parametrize("value", [np.array([None]), np.array([{}, []], object)], ids=str)
def test_objects_are_refused(value: np.ndarray) -> None:
    file = io.BytesIO()
    np.save(file, value, allow_pickle=True)
    file.seek(0)
    with pytest.raises(ValueError, match="objects"):
        read_header(file)


def test_a_header_that_is_cut_is_refused_wherever_it_is_cut() -> None:
    file = io.BytesIO()
    np.save(file, np.zeros((3, 4)))
    for length in range(128):
        with pytest.raises(ValueError, match=r"\S"):
            read_header(io.BytesIO(file.getvalue()[:length]))


def test_names_are_those_that_utf_8_can_hold() -> None:
    check_name("Größe/日本.png")
    with pytest.raises(InputError, match=r"^bad\\udcff: its name is not UTF-8"):
        check_name(Path("bad\udcff"))

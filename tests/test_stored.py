"""Arrays in files, and packed data: what they give is what arrays in memory and the files would."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import numpy as np
import pytest

from i3ad_jax.data.load import load_dataset
from i3ad_jax.data.stored import StoredArray, some, take, zeros
from i3ad_jax.errors import InputError
from i3ad_jax.runs.files import write_array
from tests.support.loading import assert_same_split

SIZE = (32, 32)
FEW = 7  # bytes of memory for images: none fits


def stored(array: np.ndarray) -> StoredArray:
    found = StoredArray.in_temporary_file(array.shape, array.dtype)
    for number, row in enumerate(array):
        found[number] = row
    return found


@hypothesis.given(
    array=hypothesis.extra.numpy.arrays(
        dtype=st.sampled_from([np.dtype(np.uint8), np.dtype(np.float32), np.dtype(bool)]),
        shape=hypothesis.extra.numpy.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5),
        elements=st.sampled_from([0, 1]),
    ),
    data=st.data(),
)
def test_rows_are_those_of_the_array_in_memory(array: np.ndarray, data: st.DataObject) -> None:
    found = stored(array)
    assert (found.shape, found.ndim, found.dtype, found.nbytes, len(found)) == (
        array.shape,
        array.ndim,
        array.dtype,
        array.nbytes,
        len(array),
    )
    for _ in range(2):  # the array, then some of its rows
        np.testing.assert_array_equal(found[:], array)
        np.testing.assert_array_equal(np.array(list(found)).reshape(array.shape), array)
        part = data.draw(st.slices(len(array)))
        np.testing.assert_array_equal(found[part], array[part])
        index = st.integers(-len(array), len(array) - 1)
        rows = np.array(data.draw(st.lists(index, max_size=8)) if len(array) else [], int)
        np.testing.assert_array_equal(found[rows], array[rows])
        for row in rows:
            np.testing.assert_array_equal(found[row], array[row])
        found, array = found.take(rows), array[rows]


def test_rows_are_written_where_they_belong() -> None:
    array = zeros((6, 2), np.int16, in_memory=False)
    array[2:4] = np.array([[1, 2], [3, 4]])
    array[5] = np.array([5, 6])
    assert array[:].tolist() == [[0, 0], [0, 0], [1, 2], [3, 4], [0, 0], [5, 6]]


def test_no_row_beyond_the_last() -> None:
    with pytest.raises(IndexError):
        stored(np.zeros((3, 2)))[3]


def test_threads_read_what_they_ask_for() -> None:
    array = np.arange(400, dtype=np.int32).repeat(500).reshape(400, 500)
    found = stored(array)
    views = [found, found.take(np.arange(400))]  # of one file
    with ThreadPoolExecutor(8) as threads:
        rows = list(threads.map(lambda i: views[i % 2][i], range(400)))
    np.testing.assert_array_equal(rows, array)


def test_temporary_file_is_not_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = zeros((3, 2), np.uint8, in_memory=False)
    assert not any(tmp_path.iterdir())  # so it is gone with the process, even where that is killed
    np.testing.assert_array_equal(array[:], np.zeros((3, 2)))


def test_file_is_numpys(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    write_array(tmp_path / "stored.npy", stored(array))
    np.testing.assert_array_equal(np.load(tmp_path / "stored.npy"), array)
    np.save(tmp_path / "numpys.npy", array)
    np.testing.assert_array_equal(StoredArray.open(tmp_path / "numpys.npy")[1:], array[1:])
    assert {file.name for file in tmp_path.iterdir()} == {"numpys.npy", "stored.npy"}


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"\x93NUMPY\x01\x00", "short", "objects", "columns", "scalar"]
)
def test_file_that_is_no_array_of_rows_is_refused(content: bytes | str, tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    arrays: dict[Any, Any] = {
        "short": np.zeros((3, 2)),
        "objects": np.array([None, None]),
        "columns": np.zeros((3, 2), order="F"),
        "scalar": np.zeros(()),
    }
    if isinstance(content, str):
        np.save(file, arrays[content], allow_pickle=True)
        content = file.read_bytes()[: -1 if content == "short" else None]
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npy: cannot be read"):
        StoredArray.open(file)


def test_file_that_becomes_shorter_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "x.npy"
    np.save(file, np.zeros((3, 20_000)))  # rows that no buffer holds already
    found = StoredArray.open(file)
    os.truncate(file, file.stat().st_size - 1)
    assert not found[1].any()
    with pytest.raises(InputError, match=r"x\.npy: has been cut short"):
        found[2]


def test_some_rows_are_all_or_evenly_spaced() -> None:
    array = np.arange(10)[:, None]
    for rows in (array, stored(array)):
        assert some(rows, 10).ravel().tolist() == list(range(10))
        assert some(rows, 4).ravel().tolist() == [0, 3, 6, 9]
        np.testing.assert_array_equal(take(rows, np.array([7, 2]))[:], [[7], [2]])


def test_data_beyond_memory_are_the_same(tiny_folder: Path) -> None:
    expected = load_dataset(str(tiny_folder), size=SIZE, aspect="pad")
    found = load_dataset(str(tiny_folder), size=SIZE, aspect="pad", memory=FEW)
    for split in (found.train, found.test):
        assert isinstance(split.images, StoredArray)
        assert isinstance(split.masks, StoredArray)
    assert isinstance(expected.train.images, np.ndarray)
    assert_same_split(found.train, expected.train)
    assert_same_split(found.test, expected.test)
    assert found.digest == expected.digest
    order = np.array([3, 0, 2])
    assert_same_split(found.test.take(order), expected.test.take(order))
    assert_same_split(found.test.take(order).in_memory(), expected.test.take(order))

"""Arrays in files, and packed data: what they give is what arrays in memory and the files would."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.extra.numpy
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from conftest import Fails, FlagsOf
from PIL import Image

from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.load import load_dataset
from i3ad_jax.data.packed import PackWriter, read_packed
from i3ad_jax.data.stored import StoredArray, some, take, zeros
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.pack import __main__ as pack
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runs.files import read_json, write_array, write_json
from i3ad_jax.train import __main__ as train
from i3ad_jax.training.batches import TrainingImages

SIZE = (32, 32)
FEW = 7  # bytes of memory for images: none fits


def stored(array: np.ndarray) -> StoredArray:
    found = StoredArray.in_temporary_file(array.shape, array.dtype)
    for number, row in enumerate(array):
        found[number] = row
    return found


@pytest.fixture(scope="module")
def packed(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "tiny"
    pack.main([str(tiny_folder), "--out", str(out), "--view", "whole", "--image-size", "32"])
    return out


def assert_same(split: Split, expected: Split) -> None:
    for name in ("images", "masks", "annotated"):
        np.testing.assert_array_equal(getattr(split, name)[:], getattr(expected, name)[:])
    for name in ("paths", "defects", "hashes", "original_sizes"):
        assert getattr(split, name) == getattr(expected, name)


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
    assert_same(found.train, expected.train)
    assert_same(found.test, expected.test)
    assert found.digest == expected.digest
    order = np.array([3, 0, 2])
    assert_same(found.test.take(order), expected.test.take(order))
    assert_same(found.test.take(order).in_memory(), expected.test.take(order))


@pytest.mark.parametrize("memory", [FEW, None])
def test_packed_data_are_those_of_the_folder(
    packed: Path, tiny_folder: Path, memory: int | None
) -> None:
    expected = load_dataset(str(tiny_folder), size=SIZE, aspect="stretch")
    found = load_dataset(str(packed), size=SIZE, aspect="stretch", memory=memory)
    assert isinstance(found.train.images, np.ndarray) == (memory is None)
    assert_same(found.train, expected.train)
    assert_same(found.test, expected.test)
    assert (found.name, found.digest) == (expected.name, expected.digest)


@pytest.mark.parametrize("side", [16, 32])
def test_batches_are_the_same_bit_for_bit(packed: Path, tiny_folder: Path, side: int) -> None:
    both = [
        load_dataset(str(data), size=SIZE, aspect="stretch", memory=memory).train.images
        for data, memory in ((tiny_folder, None), (packed, FEW))
    ]
    in_memory, in_file = both
    preprocessing = Preprocessing.learn(in_memory, in_memory[:][:2], side=side, levelling="yes")
    assert Preprocessing.learn(in_file, in_memory[:][:2], side=side, levelling="yes").to_json() == (
        preprocessing.to_json()
    )
    blocks = [
        list(
            TrainingImages(images, preprocessing, batch_size=3, num_planted=2, seed=5).blocks(0, 45)
        )
        for images in both
    ]
    assert len(blocks[0]) == len(blocks[1]) == 3
    for one, other in zip(*map(jax.tree.leaves, blocks), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("files", ["packed", pytest.param("temporary", marks=pytest.mark.slow)])
def test_training_from_files_ends_in_the_same_results(
    flags_of: FlagsOf, pca_run: Path, packed: Path, tmp_path: Path, files: str
) -> None:
    data = ["--data", str(packed)] if files == "packed" else []
    train.main([*flags_of("pca"), *data, "--image-memory", "0", "--run", str(tmp_path / "run")])
    weights = [
        read_json(run / "calibration.json")["weights"] for run in (pca_run, tmp_path / "run")
    ]
    assert weights[0] == weights[1]
    results, expected = (read_json(run / "results.json") for run in (tmp_path / "run", pca_run))
    assert results["scores"] == expected["scores"]
    assert results["data_digest"] == expected["data_digest"]
    for file in (pca_run / "maps").iterdir():
        np.testing.assert_array_equal(np.load(tmp_path / "run/maps" / file.name), np.load(file))
    evaluate.main([str(tmp_path / "run"), "--image-memory", "0", "--out", str(tmp_path / "again")])
    assert read_json(tmp_path / "again/results.json")["scores"] == expected["scores"]


@pytest.mark.slow
def test_training_goes_on_with_packed_data(
    run_of: Callable[[str], Path], packed: Path, tmp_path: Path
) -> None:
    whole, run = run_of("l2_ae"), tmp_path / "run"
    shutil.copytree(
        whole, run, ignore=shutil.ignore_patterns("6", "calibration.json", "results.json")
    )
    config = read_json(run / "config.json")
    config["data"]["data"] = str(packed)
    write_json(run / "config.json", config)
    train.main(["--run", str(run), "--resume", "--image-memory", "0"])
    assert read_json(run / "calibration.json") == read_json(whole / "calibration.json")
    assert read_json(run / "results.json")["data_source"] == str(packed)


def test_both_sizes_are_packed_where_tiles_are_chosen(tmp_path: Path) -> None:
    data, out = tmp_path / "noise", tmp_path / "packed"
    (data / "train/good").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 96, 3), np.uint8)  # no two are alike
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(data / f"train/good/{number}.png")
    pack.main([str(data), "--out", str(out), "--image-size", "32"])
    sizes = [tuple(size) for size in read_json(out / "packed.json")["sizes"]]
    assert sizes == [(32, 32), (64, 96)]
    for size in sizes:
        expected = load_dataset(str(data), size=size, aspect="stretch")
        assert_same(read_packed(out, size=size, aspect="stretch", memory=FEW).train, expected.train)


def damage(packed: Path, folder: Path) -> Path:
    for file in packed.rglob("*"):
        if file.is_file():
            (folder / file.relative_to(packed)).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.relative_to(packed)).write_bytes(file.read_bytes())
    return folder


def all_of(data: Dataset) -> list[np.ndarray]:
    return [data.train.images[:], data.test.images[:], data.test.masks[:]]


@pytest.mark.parametrize("memory", [FEW, None])
def test_damage_anywhere_is_refused(packed: Path, tmp_path: Path, memory: int | None) -> None:
    copy = damage(packed, tmp_path / "copy")
    others = ("packed.json", ".lock")
    files = [file for file in copy.rglob("*") if file.is_file() and file.name not in others]
    assert len(files) == 8
    for file in files:
        content = file.read_bytes()
        for place in np.linspace(0, len(content) - 1, 9).astype(int):
            flipped = bytearray(content)
            flipped[place] ^= 1
            file.write_bytes(flipped)
            with pytest.raises(InputError, match=file.name):
                all_of(read_packed(copy, size=SIZE, aspect="stretch", memory=memory))
        file.unlink()
        with pytest.raises(InputError, match=file.name):
            all_of(read_packed(copy, size=SIZE, aspect="stretch", memory=memory))
        file.write_bytes(content)
    all_of(read_packed(copy, size=SIZE, aspect="stretch", memory=memory))


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{", "[" * 100_000, '{"name": 1}', '{"sizes": 3}', '{"aspect": "x"}'],
)
def test_damaged_mark_is_refused(content: str, packed: Path, tmp_path: Path) -> None:
    copy = damage(packed, tmp_path / "copy")
    mark = copy / "packed.json"
    whole = json.loads(mark.read_text())
    mark.write_text(
        json.dumps({**whole, **json.loads(content)}) if ": " in content[1:9] else content
    )
    if "name" in content:
        assert read_packed(copy, size=SIZE, aspect="stretch").name == "1"
        return
    with pytest.raises(InputError, match=r"packed\.json: damaged"):
        read_packed(copy, size=SIZE, aspect="stretch")


def test_wrong_settings_are_refused_in_one_line(packed: Path, fails: Fails, tmp_path: Path) -> None:
    data = ["--method", "pca", "--data", packed, "--run", tmp_path / "run"]
    assert "was packed at 32x32, but 64x64 is needed" in fails(
        train.main, [*data, "--view", "whole"]
    )
    assert "was packed with --aspect stretch" in fails(train.main, [*data, "--aspect", "pad"])
    assert "leave --layout out" in fails(train.main, [*data, "--layout", "mvtec"])
    assert "--image-memory -1: give GiB" in fails(train.main, [*data, "--image-memory", "-1"])
    assert "--image-memory nan: give GiB" in fails(train.main, [*data, "--image-memory", "nan"])
    assert "holds packed data already" in fails(pack.main, [packed, "--out", packed])
    assert not (tmp_path / "run").exists()


def test_unfinished_pack_is_no_data(tiny_folder: Path, fails: Fails, tmp_path: Path) -> None:
    data = load_dataset(str(tiny_folder), size=SIZE, aspect="stretch")
    writer = PackWriter(tmp_path / "out")
    writer.add(data)
    assert "of no known layout" in fails(
        train.main, ["--method", "pca", "--data", tmp_path / "out"]
    )
    PackWriter(tmp_path / "out").add(data)  # begins anew

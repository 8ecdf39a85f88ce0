"""Packed data: the same as the folder's, and refused when damaged."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.data.dataset import Dataset
from i3ad_jax.data.load import load_dataset
from i3ad_jax.data.packed import PackWriter, read_packed
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runs.files import read_json, write_json
from i3ad_jax.train import __main__ as train
from i3ad_jax.training.batches import TrainingImages
from tests.conftest import Fails, FlagsOf
from tests.support.loading import assert_same_split

SIZE = (32, 32)

FEW = 7  # bytes of memory for images: none fits


@pytest.mark.parametrize("memory", [FEW, None])
def test_packed_data_are_those_of_the_folder(
    packed: Path, tiny_folder: Path, memory: int | None
) -> None:
    expected = load_dataset(str(tiny_folder), size=SIZE, aspect="stretch")
    found = load_dataset(str(packed), size=SIZE, aspect="stretch", memory=memory)
    assert isinstance(found.train.images, np.ndarray) == (memory is None)
    assert_same_split(found.train, expected.train)
    assert_same_split(found.test, expected.test)
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
    preprocessing = replace(preprocessing, levels=2)
    blocks = [
        list(
            TrainingImages(images, preprocessing, batch_size=3, seed=5, planted=(2, 8)).blocks(
                0, 45, together=20
            )
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


def test_unfinished_pack_is_no_data(tiny_folder: Path, fails: Fails, tmp_path: Path) -> None:
    data = load_dataset(str(tiny_folder), size=SIZE, aspect="stretch")
    writer = PackWriter(tmp_path / "out")
    writer.add(data)
    assert "no known layout" in fails(train.main, ["--method", "pca", "--data", tmp_path / "out"])
    PackWriter(tmp_path / "out").add(data)  # begins again


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values)
def test_whatever_marks_packed_data_is_read_or_refused(tmp_path_factory: Any, value: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    base = {"name": "a", "aspect": "stretch", "sizes": [[8, 8]], "sha256": {}}
    for values in (value, *({**base, key: value} for key in base)):
        (folder / "packed.json").write_text(json.dumps(values))
        with pytest.raises(InputError, match=r"packed.json|train.csv|aspect|was packed"):
            read_packed(folder, size=(8, 8), aspect="stretch")

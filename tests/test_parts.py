"""Predictions in parts: the engine blocks."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.predict import __main__ as predict
from i3ad_jax.predict.names import NamedSource
from i3ad_jax.predict.parts import cut, images_a_part
from i3ad_jax.runs.files import read_json, write_json
from tests.conftest import Fails


@given(images=st.integers(1, 3_000_000), chunk=st.integers(1, 200))
def test_parts_are_few_and_of_whole_lists(images: int, chunk: int) -> None:
    size = images_a_part(images, chunk=chunk)
    assert size % chunk == 0
    assert -(-images // size) <= 1000
    assert size == chunk or -(-images // (size - chunk)) > 1000


@given(images=st.integers(1, 60), size=st.integers(1, 70))
def test_every_image_is_in_one_block(images: int, size: int) -> None:
    named = [NamedSource(Path(f"{number}.png"), str(number)) for number in range(images)]
    blocks = cut(named, size=size)
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert [image for block in blocks for image in block.images] == named
    assert all(len(block.images) == size for block in blocks[:-1])


@pytest.fixture(scope="module")
def parquet() -> Any:
    return pytest.importorskip("pyarrow.parquet", reason="pip install -e '.[parquet]'")


@pytest.fixture(scope="module")
def run(pca_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that scores two images at a time."""
    folder = shutil.copytree(pca_run, tmp_path_factory.mktemp("runs") / "run")
    config = read_json(folder / "config.json")
    config["throughput"]["queue_size"] = 2
    write_json(folder / "config.json", config)
    return folder


@pytest.fixture
def images(tiny_folder: Path, tmp_path: Path) -> Path:
    """Seven images, one of them broken."""
    folder = tmp_path / "images"
    shutil.copytree(tiny_folder / "test", folder)
    (folder / "good/0a.png").write_bytes(b"no picture")
    return folder


def predicted(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit, match="3"):
        predict.main([str(argument) for argument in arguments])


def test_parts_have_the_rows_of_the_table(
    run: Path, images: Path, tmp_path: Path, parquet: Any
) -> None:
    predicted(run, images, "--out", tmp_path / "stream")
    predicted(run, images, "--out", tmp_path / "blocks", "--engine", "blocks")
    with (tmp_path / "stream/predictions.csv").open(newline="") as lines:
        expected = list(csv.DictReader(lines))
    parts = sorted((tmp_path / "blocks/predictions").iterdir())
    assert [part.name for part in parts] == [f"part-{number:06}.parquet" for number in range(4)]
    rows = [row for part in parts for row in parquet.read_table(part).to_pylist()]
    as_text = [{name: "" if x is None else str(x) for name, x in row.items()} for row in rows]
    assert as_text == expected
    of_both = [
        json.loads((tmp_path / name / "predictions.json").read_text())
        for name in ("stream", "blocks")
    ]
    assert of_both[1].pop("images_a_part") == 2
    assert of_both[0] == of_both[1]
    files = {row["picture"] for row in rows if row["picture"]}
    assert len(files) == 6
    pictures = [
        {file: (tmp_path / name / file).read_bytes() for file in files}
        for name in ("stream", "blocks")
    ]
    assert pictures[0] == pictures[1]


def test_rows_of_a_parquet_file_are_scored_as_their_files(
    run: Path, images: Path, tmp_path: Path, parquet: Any
) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    files = sorted(images.rglob("*.png"))
    table = tmp_path / "table.parquet"
    parquet.write_table(pyarrow.table({"content": [file.read_bytes() for file in files]}), table)
    predicted(run, table, "--column", "content", "--out", tmp_path / "rows", "--engine", "blocks")
    predicted(run, images, "--out", tmp_path / "files", "--engine", "blocks")
    own, expected = (
        parquet.read_table(tmp_path / name / "predictions") for name in ("rows", "files")
    )
    assert own["path"].to_pylist() == [f"{table}#{number}" for number in range(len(files))]
    of_files = ["path", "picture", "error"]
    assert own.drop(of_files) == expected.drop(of_files)
    assert sorted(file.stem for file in (tmp_path / "rows/pictures").iterdir()) == [
        f"table-{number}" for number, file in enumerate(files) if file.name != "0a.png"
    ]


@pytest.mark.usefixtures("parquet")
def test_another_start_does_what_is_missing(
    run: Path, images: Path, tmp_path: Path, fails: Fails
) -> None:
    out = tmp_path / "out"
    arguments = (run, images, "--out", out, "--engine", "blocks", "--save", "scores")
    predicted(*arguments)
    parts = sorted((out / "predictions").iterdir())
    about = json.loads((out / "predictions.json").read_text())
    assert (about["scored"], about["broken"]) == (6, 1)
    contents = {part: part.read_bytes() for part in parts}
    lost, *kept = parts
    lost.rename(lost.with_name(f".{lost.name}.left-by-a-killed-process"))
    times = [part.stat().st_mtime_ns for part in kept]
    predicted(*arguments)
    assert {part: part.read_bytes() for part in (out / "predictions").iterdir()} == contents
    assert [part.stat().st_mtime_ns for part in kept] == times
    assert json.loads((out / "predictions.json").read_text()) == about
    for change in (["--quantile", "0.5"], ["--map-format", "png"]):
        assert "name another --out" in fails(predict.main, [*arguments, *change])
    assert "name another --out" in fails(predict.main, [run, images / "good", *arguments[2:]])
    assert "name another --out" in fails(predict.main, [run, images, "--out", out])
    kept[0].write_bytes(b"no table")
    assert f"{kept[0]}: cannot be read; remove it" in fails(predict.main, arguments)


def test_packages_that_are_missing(
    run: Path, images: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [run, images, "--out", tmp_path / "out", "--engine"]
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install 'i3ad_jax[ray]'" in fails(predict.main, [*arguments, "ray"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'i3ad_jax[parquet]'" in fails(predict.main, [*arguments, "blocks"])
    assert not (tmp_path / "out/predictions.json").exists()

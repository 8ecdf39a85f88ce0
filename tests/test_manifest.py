"""Tables of images as datasets: CSV and Parquet."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from i3ad_jax.data.load import DataSettings
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.runs.files import read_json
from i3ad_jax.train import __main__ as train
from tests.conftest import FlagsOf
from tests.support.layout_trees import HEIGHT, MANIFEST, WIDTH, manifest, mvtec, write_csv
from tests.support.loading import assert_refused, load


@pytest.mark.parametrize("label", ["Good", "OK", "normal", "pass", "0", "gut"])
def test_labels_of_normal_images_have_the_usual_names_and_those_of_the_user(
    tmp_path: Path, label: str
) -> None:
    tree = manifest(tmp_path)
    rows = [[label if cell in ("good", "0") else cell for cell in row] for row in MANIFEST]
    write_csv(tree.source, rows)
    reading = ReadingSettings(normal_class=("gut",))
    data = DataSettings(str(tree.source), reading=reading).load(size=(HEIGHT, WIDTH))
    assert list(data.train.paths) == sorted(tree.train)
    assert sorted(data.test.defects) == ["1", "good", "scratch"]


def test_a_folder_in_place_of_a_manifest_is_refused(tmp_path: Path) -> None:
    mvtec(tmp_path)
    assert_refused(tmp_path, "--layout manifest: ", "a file", tmp_path, layout="manifest")


@pytest.mark.parametrize("name", ["list.txt", "image.png"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("path,split,label\n")
    assert_refused(tmp_path / name, f"--data {tmp_path / name}: ", ".csv or .parquet")


def as_parquet(rows: Sequence[Sequence[str]], file: Path) -> Path:
    header, *cells = rows
    columns = {name: [row[i] or None for row in cells] for i, name in enumerate(header)}
    write_parquet(file, columns)
    return file


def write_parquet(file: Path, columns: Mapping[str, Any]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install -e '.[parquet]'")
    parquet.write_table(pytest.importorskip("pyarrow").table(columns), file)


def test_a_parquet_file_is_read_as_a_csv(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    data, expected = load(as_parquet(MANIFEST, tmp_path / "parts.parquet")), load(tree.source)
    assert data.digest == expected.digest
    assert (data.train.paths, data.train.hashes) == (expected.train.paths, expected.train.hashes)


def test_labels_in_parquet_may_be_whole_numbers_or_categories(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pip install -e '.[parquet]'")
    tree = manifest(tmp_path)
    paths = pyarrow.array([*tree.train, *tree.test])
    splits = pyarrow.array(["train"] * 2 + ["test"] * 3).dictionary_encode()
    labels = pyarrow.array([0, 0, 0, 1, 2])
    columns = {"path": paths, "split": splits, "label": labels, "mask": pyarrow.nulls(5)}
    write_parquet(tmp_path / "parts.parquet", columns)
    data = load(tmp_path / "parts.parquet")
    found = dict(zip(data.test.paths, data.test.defects, strict=True))
    assert found == dict(zip(tree.test, ("good", "1", "2"), strict=True))
    assert data.test.annotated.tolist() == [defect == "good" for defect in data.test.defects]


def test_labels_in_parquet_that_are_no_text_or_whole_numbers_are_refused(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    columns = {"path": tree.train, "split": ["train"] * 2, "label": [0.0, 0.0]}
    write_parquet(tmp_path / "parts.parquet", columns)
    assert_refused(tmp_path / "parts.parquet", "parts.parquet: column label holds double")


def test_parquet_without_pyarrow_is_answered_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(tmp_path)
    file = tmp_path / "parts.parquet"
    file.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert_refused(file, f"{file}: ", "pip install 'i3ad_jax[parquet]'")
    assert len(load(tmp_path / "parts.csv").train) == 2


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_damaged_table_is_refused_by_its_name(tmp_path: Path, ending: str) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pip install -e '.[parquet]'")
    file = tmp_path / f"parts.{ending}"
    file.write_bytes(b'path,split,label\n\xff,"')
    assert_refused(file, f"{file}: cannot be read")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["path", "split", "label"])
def test_a_table_without_a_column_is_refused(tmp_path: Path, ending: str, column: str) -> None:
    manifest(tmp_path)
    missing = MANIFEST[0].index(column)
    rows = [[cell for i, cell in enumerate(row) if i != missing] for row in MANIFEST]
    file = tmp_path / f"other.{ending}"
    write_csv(file, rows) if ending == "csv" else as_parquet(rows, file)
    assert_refused(file, f"{file}: no column {column!r}", "path, split, label")


def test_the_column_of_masks_is_optional(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    write_csv(tree.source, [row[:3] for row in MANIFEST])
    data = load(tree.source)
    assert sorted(data.test.defects) == ["1", "good", "scratch"]
    assert data.test.annotated.sum() == 1


def test_a_csv_as_spreadsheets_write_it_is_read(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    expected = load(tree.source).digest
    text = "\ufeff" + tree.source.read_text().replace("path,split", "path , split").replace(
        "\n", "\r\n"
    )
    tree.source.write_bytes(text.encode())
    assert load(tree.source).digest == expected


def test_paths_may_lead_out_of_the_folder_of_the_table(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    rows = [
        (f"../{path.strip()}", split, label, f"../{mask}" if mask else "")
        for path, split, label, mask, _ in MANIFEST[1:]
    ]
    data = load(write_csv(tmp_path / "tables/parts.csv", [MANIFEST[0][:4], *rows]))
    assert data.train.paths == ("../pictures/1.png", "../pictures/2.png")
    assert data.test.hashes == load(tree.source).test.hashes


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("pictures/5.png", "val", "good", ""), ["split 'val'", "train or test"]),
        (("pictures/5.png", "", "good", ""), ["split ''"]),
        (("pictures/5.png", "train", "scratch", ""), ["'scratch' in train", "good or 0"]),
        (("pictures/5.png", "test", "", ""), ["label is empty"]),
        (("", "test", "good", ""), ["path is empty"]),
        (("pictures/9.png", "test", "good", ""), ["pictures/9.png: no such file"]),
        (("pictures", "test", "good", ""), ["pictures: no such file"]),
        (("x" * 300, "test", "good", ""), ["no such file"]),
        (("pictures/5.png", "test", "scratch", "masks/9.png"), ["masks/9.png: no such file"]),
        (("pictures/x/../1.png", "test", "good", ""), ["pictures/1.png is in", "line 2"]),
        (("pictures/5.png", "test", "scratch", "", "one", "two"), ["more cells than columns"]),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_by_its_line(
    tmp_path: Path, row: tuple[str, ...], words: list[str]
) -> None:
    manifest(tmp_path)
    (tmp_path / "pictures/x").mkdir()
    rows = [MANIFEST[0][:4], ("pictures/1.png", "train", "good", ""), row]
    file = write_csv(tmp_path / "other.csv", rows)
    assert_refused(file, f"{file}: line 3: ", *words)


def test_a_mask_that_marks_a_defect_in_a_normal_image_is_refused(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    for split in ("train", "test"):
        row = ("pictures/3.png", split, "good", "masks/a.png")
        write_csv(tree.source, [MANIFEST[0][:4], ("pictures/1.png", "train", "good", ""), row])
        assert_refused(tree.source, tmp_path / "masks/a.png", "normal image")


@pytest.fixture
def table(tiny_folder: Path, tmp_path: Path) -> Path:
    """A table of the images of a copy of the tiny folder."""
    data = load(tiny_folder)
    rows = [
        ("path", "split", "label", "mask"),
        *((path, "train", "good", "") for path in data.train.paths),
    ]
    for path, defect in zip(data.test.paths, data.test.defects, strict=True):
        mask = path.replace("test", "ground_truth").replace(".png", "_mask.png")
        rows.append((path, "test", defect, "" if defect == "good" else mask))
    data = shutil.copytree(tiny_folder, tmp_path / "data")
    return write_csv(data / "parts.csv", rows)


def assert_same_results(found: Path, expected: Path, *, source: Path) -> None:
    results, others = (read_json(folder / "results.json") for folder in (found, expected))
    for name in ("data_digest", "scores", "thresholds"):
        assert results[name] == others[name]
    assert results["data_source"] == str(source)
    assert (found / "files.json").read_bytes() == (expected / "files.json").read_bytes()


def test_a_table_gives_the_data_of_the_folder(table: Path, tiny_folder: Path) -> None:
    found, expected = load(table), load(tiny_folder)
    assert found.digest == expected.digest
    assert found.train.hashes == expected.train.hashes


@pytest.mark.slow
def test_a_test_on_a_table_finds_what_one_on_the_folder_does(
    tmp_path: Path, table: Path, pca_run: Path
) -> None:
    evaluate.main([str(pca_run), "--data", str(table), "--out", str(tmp_path / "again")])
    assert_same_results(tmp_path / "again", pca_run, source=table)


@pytest.mark.slow
def test_a_run_from_a_table_finds_what_one_from_the_folder_does(
    tmp_path: Path, table: Path, pca_run: Path, flags_of: FlagsOf
) -> None:
    train.main([*flags_of("pca"), "--data", str(table), "--run", str(tmp_path / "run")])
    assert_same_results(tmp_path / "run", pca_run, source=table)

"""The layout of VisA."""

import shutil
from pathlib import Path

import pytest

from tests.support.layout_trees import visa, write_csv
from tests.support.loading import assert_refused, load


def test_visa_without_its_split_is_refused(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    table = tree.base / "split_csv/1cls.csv"
    table.unlink()
    assert_refused(tree.source, f"{table}: no such file")


def test_the_folder_of_all_categories_is_answered_with_how_to_name_one(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    assert_refused(tree.base, f"{tree.base}: ", f"{tree.base}/candle")


def test_a_category_of_another_name_than_in_the_split_is_refused(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    tree.source.rename(tree.base / "candles")
    assert_refused(tree.base / "candles", "1cls.csv", "candles", "candle, pcb1")


def test_another_category_may_be_absent(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    expected = load(tree.source).digest
    shutil.rmtree(tree.base / "pcb1")
    assert load(tree.source).digest == expected


@pytest.mark.parametrize(
    "file", ["Images/Normal/0001.JPG", "Images/Anomaly/000.JPG", "Masks/Anomaly/000.png"]
)
def test_a_missing_file_of_visa_is_refused_with_its_row(tmp_path: Path, file: str) -> None:
    tree = visa(tmp_path)
    (tree.source / "Data" / file).unlink()
    assert_refused(tree.source, "1cls.csv: line ", tree.source / "Data" / file, "no such file")


def test_a_split_without_a_column_is_refused(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    table = tree.base / "split_csv/1cls.csv"
    write_csv(table, [("object", "split", "label", "image")])
    assert_refused(tree.source, f"{table}: no column 'mask'")


def test_the_table_of_kinds_of_defects_is_ignored(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    expected = load(tree.source).digest
    (tree.source / "image_anno.csv").write_text("image,label,mask\n")
    assert load(tree.source).digest == expected

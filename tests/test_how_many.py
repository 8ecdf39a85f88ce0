"""The study of the number of training images: its runs, with the method that trains in a second."""

import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments import how_many
from experiments.comparison import Cell
from experiments.how_many import Division, Row
from i3ad_jax import Detector
from i3ad_jax.data.load import DataSettings
from i3ad_jax.runs.run_folder import RunFolder
from tests.conftest import Fails

PATHS = [Path(f"{i}.png") for i in range(20)]


def test_a_larger_set_has_the_smaller_one_and_the_same_calibration_images() -> None:
    division = Division.draw(PATHS, fraction=0.2, seed=3)
    assert sorted([*division.calibration, *division.others]) == sorted(PATHS)
    taken = {count: division.first(count, seed=3) for count in (2, 5, 16)}
    for count, (images, fraction) in taken.items():
        assert fraction == 4 / (count + 4)
        assert {*images} == {*division.calibration, *division.others[:count]}
        assert len(images) == count + 4
    assert Division.draw(PATHS, fraction=0.2, seed=4) != division


def test_runs_train_on_so_many_images_and_calibrate_on_the_same(
    tiny_folder: Path, tmp_path: Path
) -> None:
    options = ["--data", str(tiny_folder), "--out", str(tmp_path), "--method", "pca"]
    how_many.main([*options, "--images", "2", "4", "--seeds", "0", "5"])
    for seed in (0, 5):
        runs = [RunFolder(tmp_path / f"images-{count}-seed{seed}") for count in (2, 4)]
        small, large = (run.read_files() for run in runs)
        assert (len(small.trained), len(large.trained)) == (2, 4)
        assert {*small.trained.values()} < {*large.trained.values()}
        assert [*small.held_out.values()] == [*large.held_out.values()]
        size = runs[0].read_plan().preprocessing.size
        known = DataSettings().split_of(tiny_folder / "train/good", size=size)
        assert {*large.trained.values(), *large.held_out.values()} <= {*known.hashes}
    with (tmp_path / "how_many.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["images"], row["calibration_images"]) for row in rows] == [("2", "2"), ("4", "2")]
    for row in rows:
        areas = [
            Detector.load(tmp_path / f"images-{row['images']}-seed{seed}")
            .evaluate(tiny_folder)
            .metrics["combined"]["image_auroc"]
            for seed in (0, 5)
        ]
        assert float(row["image_auroc_mean"]) == pytest.approx(np.mean(areas))
        assert float(row["image_auroc_sd"]) == pytest.approx(np.std(areas, ddof=1))
    assert "| 4 | 2 |" in (tmp_path / "how_many.md").read_text()
    assert (tmp_path / "how_many.svg").read_text().count("<svg") == 1


def test_the_figure_has_the_numbers_in_order() -> None:
    figure = Figure()
    rows = [Row(40, 9, Cell(0.9)), Row(10, 9, Cell(0.8)), Row(80, 9, Cell(None))]
    how_many.draw(figure, rows)
    (axes,) = figure.axes
    x, y = np.array(axes.lines[0].get_data(), float)
    np.testing.assert_array_equal(x, [10, 40, 80])
    np.testing.assert_array_equal(y, [0.8, 0.9, np.nan])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--images 3 7", "--images 7: must be at least 2 and at most 6; 2 of 8 images calibrate"),
        ("--images 1", "--images 1: must be at least 2"),
        ("--images 3 --method pac", "did you mean pca?"),
    ],
)
def test_wrong_values_are_refused_before_any_training(
    options: str, message: str, tiny_folder: Path, tmp_path: Path, fails: Fails
) -> None:
    arguments = ["--data", tiny_folder, "--out", tmp_path / "out", *options.split()]
    assert message in fails(how_many.main, arguments)
    assert not (tmp_path / "out").exists()


def test_data_without_a_test_is_refused(tiny_folder: Path, tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train").symlink_to(tiny_folder / "train")
    arguments = ["--data", tmp_path / "data", "--out", tmp_path / "out", "--images", "2"]
    assert "needs normal and anomalous test images" in fails(how_many.main, arguments)
    assert "no such folder" in fails(how_many.main, ["--data", "nowhere", *arguments[2:]])

"""The study of resolution and steps: its table from copied results, then with tiny trainings."""

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments import budget, runs
from experiments.budget import Row
from experiments.comparison import Cell, Run
from i3ad_jax.config import Config, default_config
from i3ad_jax.runs.files import read_json, write_json
from tests.conftest import TINY_SETTINGS, Fails, tiny_settings


def tiny(method: str, *, preset: str) -> Config:
    return default_config(method, preset=preset).with_settings(tiny_settings(method))


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_each_value_is_a_run_for_each_seed(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: dict[tuple[str, int], Config] = {}

    def make(run: Run, planned: Mapping[Run, Config], out: Path) -> None:
        trained[out.name, run.seed] = planned[run]
        folder = runs.run_folder(out, run)
        folder.path.mkdir(parents=True)
        shutil.copy(pca_run / "results.json", folder.results)
        write_json(folder.config, planned[run].to_json())
        write_json(folder.path / "wall_time.json", {"seconds": 60.0 * (1 + run.seed)})

    monkeypatch.setattr("experiments.study.make", make)
    flags = ["--data", str(tiny_folder), "--seeds", "1", "3", "--out", str(tmp_path)]
    flags += ["--resolution", "64", "128", "--steps", "7"]
    budget.main(flags)
    names = ("resolution-64", "resolution-128", "steps-7")
    assert list(trained) == [(name, seed) for name in names for seed in (1, 3)]
    base = default_config("i3ad").flat()
    for (name, _), config in trained.items():
        setting, value = name.split("-")
        changed = {key: own for key, own in config.flat().items() if own != base[key]}
        assert changed.keys() - {"seed", "data"} == {setting}
        assert changed[setting] == int(value)
    rows = read(tmp_path / "budget.csv")
    assert [(row["setting"], row["value"]) for row in rows] == [
        ("resolution", "64"),
        ("resolution", "128"),
        ("steps", "7"),
    ]
    expected = read_json(pca_run / "results.json")
    for row in rows:
        assert float(row["minutes_mean"]) == 3  # of 2 and 4
        assert float(row["minutes_sd"]) == pytest.approx(2**0.5)
        assert float(row["image_auroc_mean"]) == expected["scores"]["combined"]["image_auroc"]
        size = " x ".join(map(str, expected["preprocessing"]["working_size"]))
        assert row["working_size"] == size
    assert "| resolution | 128 |" in (tmp_path / "budget.md").read_text()
    assert (tmp_path / "budget.svg").read_text().count("<svg") == 1
    trained.clear()
    budget.main([*flags, "8"])
    assert list(trained) == [("steps-8", 1), ("steps-8", 3)]


def test_a_panel_shows_auroc_by_minutes_in_the_order_of_the_values() -> None:
    def row(value: int, area: float | None) -> Row:
        return Row("steps", value, "64 x 64", "64 x 64", value, Cell(value / 100), Cell(area))

    figure = Figure()
    budget.draw(figure, [row(400, 0.9), row(200, 0.8), row(800, None)])
    (axes,) = figure.axes
    x, y = np.array(axes.lines[0].get_data(), float)
    np.testing.assert_array_equal(x, [2.0, 4.0, 8.0])
    np.testing.assert_array_equal(y, [0.8, 0.9, np.nan])
    assert [text.get_text() for text in axes.texts] == ["200", "400", "800"]


def test_wrong_values_are_refused_before_any_training(
    tiny_folder: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(*_: Any) -> None:
        pytest.fail("trained")

    monkeypatch.setattr("experiments.study.make", make)
    flags = ["--data", tiny_folder, "--out", tmp_path / "out"]
    assert "--resolution, --steps: name values" in fails(budget.main, flags)
    wrong = [*flags, "--resolution", "64", "--steps", "0"]
    assert fails(budget.main, wrong).startswith("error: --steps 0: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_trains_and_measures(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "default_config", tiny)
    flags = ["--resolution", "64", "--steps", "2", "--out", str(tmp_path)]
    budget.main(["--data", str(tiny_folder), *flags])
    rows = read(tmp_path / "budget.csv")
    sizes = [[int(side) for side in row["working_size"].split(" x ")] for row in rows]
    small, large = TINY_SETTINGS["resolution"], 64
    for (height, width), resolution in zip(sizes, (large, small), strict=True):
        assert height * width == pytest.approx(resolution**2, rel=0.3)
    assert [row["steps"] for row in rows] == [str(TINY_SETTINGS["steps"]), "2"]
    for row in rows:
        (folder,) = (tmp_path / f"{row['setting']}-{row['value']}").glob("runs/*/*")
        own = read_json(folder / "results.json")
        assert float(row["image_auroc_mean"]) == own["scores"]["combined"]["image_auroc"]
        assert 0 < float(row["minutes_mean"]) < 10

"""The combined score by other exponents of its weights."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import exponents
from experiments.exponents import EXPONENTS, Measured, left_out, measure
from i3ad_jax.calibration.fusion import SHARPNESS
from i3ad_jax.runs.files import read_json, without_digest, write_with_digest
from i3ad_jax.runs.run_folder import RunFolder
from tests.conftest import Fails


def test_default_exponent_gives_the_run_s_own_score(pca_run: Path) -> None:
    data, found = measure(RunFolder(pca_run))
    results = read_json(pca_run / "results.json")
    assert data == results["data"]
    own = results["scores"]["combined"]["image_auroc"]
    assert found.by_exponent[EXPONENTS.index(SHARPNESS)] == pytest.approx(own, abs=1e-9)
    assert found.best >= max(values["image_auroc"] for values in results["scores"].values())
    assert found.best >= found.picked


def test_exponent_is_chosen_on_the_other_data_sets() -> None:
    def run(best_at: int) -> Measured:
        areas = tuple(0.9 if exponent == best_at else 0.5 for exponent in EXPONENTS)
        return Measured(areas, best=0.95, picked=0.7)

    rows = left_out({"a": [run(8), run(8)], "b": [run(1)], "c": [run(1)]})
    assert [(row.data, row.runs, row.exponent) for row in rows] == [
        ("a", 2, 1),
        ("b", 1, 1),
        ("c", 1, 1),
    ]
    np.testing.assert_allclose([row.gap for row in rows], [0.45, 0.05, 0.05])
    assert [row.by_default for row in rows] == [0.5] * 3


def test_table_has_a_row_for_each_data_set(fails: Fails, pca_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "of one data set only" in fails(exponents.main, ["--runs", pca_run, "--out", out])
    other = shutil.copytree(pca_run, tmp_path / "run")
    results = without_digest(read_json(other / "results.json"))
    write_with_digest(other / "results.json", {**results, "data": "other"})
    exponents.main(["--runs", str(pca_run), str(other), "--out", str(out)])
    with (out / "exponents.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["data"] for row in rows} == {results["data"], "other"}
    assert float(rows[0]["gap"]) >= 0
    assert "| other |" in (out / "exponents.md").read_text()

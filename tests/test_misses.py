"""The pictures of the worst-ranked test images, from a run of pca on a tiny dataset."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from experiments import misses
from experiments.misses import Worst
from i3ad_jax.report.run_report import read_maps, read_test
from i3ad_jax.runs.results import read_results
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runs.run_results import RunResults
from tests.conftest import Fails

LABELS = (0, 1, 1, 0, 1, 0, 0)
SCORES = (0.5, 2.0, -1.0, 3.0, 0.5, 0.5, -2.0)


def made_up_run() -> RunResults:
    return RunResults(
        name="run",
        results={"thresholds": {"combined": 1.0}},
        config={},
        paths=tuple(f"{i}.png" for i in range(len(LABELS))),
        labels=np.array(LABELS),
        defects=tuple("spot" if label else "good" for label in LABELS),
        scores={"combined": np.array(SCORES)},
    )


def test_worst_images_of_each_class_come_first() -> None:
    worst = Worst.of(made_up_run(), count=3)
    assert {label: order.tolist() for label, order in worst.indices.items()} == {
        1: [2, 4, 1],
        0: [3, 0, 5],  # of equal scores the first
    }
    assert worst.rows()[0] == ["2.png", "spot", -1.0, 6, 1.0]
    ranks = [row[3] for row in worst.rows()]
    assert ranks == [6, 3, 2, 1, 3, 3]  # equal scores share a rank


def test_picture_and_table_are_those_of_the_run(pca_run: Path, tmp_path: Path) -> None:
    misses.main([str(pca_run), "--out", str(tmp_path)])
    (picture,) = tmp_path.glob("*.jpg")
    assert picture.name == f"tiny-{pca_run.name}.jpg"
    assert picture.stat().st_size <= 400_000
    with Image.open(picture) as opened:
        assert opened.width > opened.height > 800
    with (tmp_path / "misses.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    run = read_results(RunFolder(pca_run))
    assert {row["path"] for row in rows} == {*run.paths}  # six images: all are shown
    for row in rows:
        i = run.paths.index(row["path"])
        assert row["defect"] == run.defects[i]
        assert float(row["score"]) == run.scores["combined"][i]
        assert float(row["threshold"]) == run.threshold("combined")
        assert int(row["rank"]) == 1 + sum(run.scores["combined"] > run.scores["combined"][i])


def test_true_masks_are_outlined_and_captions_name_mistakes(pca_run: Path) -> None:
    folder = RunFolder(pca_run)
    found = read_results(folder)
    above = {"combined": float(found.scores["combined"].max())}  # every anomalous image is missed
    run = replace(found, results={**found.results, "thresholds": above})
    test, figure = read_test(folder, run, progress=False), Figure()
    misses.draw(figure, Worst.of(run), test, read_maps(folder, run, test, "combined"))
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 2 * len(test)  # photograph and map
    outlined = [axes for axes in shown if axes.collections]
    assert len(outlined) == 2 * sum(mask.any() for mask in test.masks)
    captions = [text for axes in shown if (text := axes.get_xlabel())]
    assert len(captions) == len(test)
    for text in captions:
        assert ("(wrong)" in text) == ("spot" in text)
    assert sorted(text.split("\n")[1] for text in captions) == sorted(run.defects)


def test_runs_that_cannot_be_shown(fails: Fails, pca_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "RUN: name the folder of a run" in fails(misses.main, ["--out", out])
    assert "results.json: missing" in fails(misses.main, [tmp_path, "--out", out])
    twice = [pca_run, pca_run, "--out", out]
    assert f"RUN {pca_run}: {out / f'tiny-{pca_run.name}.jpg'}" in fails(misses.main, twice)
    changed = shutil.copytree(pca_run, tmp_path / "run")
    np.save(changed / "maps/combined.npy", np.load(changed / "maps/combined.npy") + 1)
    assert "combined.npy: has changed" in fails(misses.main, [changed, "--out", out])
    blocked = tmp_path / "file"
    blocked.touch()
    assert f"{blocked}: cannot be written to" in fails(misses.main, [pca_run, "--out", blocked])

"""The table of plain and calibrated scores, from runs of pca on a tiny dataset."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments import scores
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.scoring import maps
from i3ad_jax.train import __main__ as train


@pytest.fixture(scope="module")
def runs(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds."""
    root = tmp_path_factory.mktemp("runs")
    for seed in ("0", "1"):
        flags = ["--method", "pca", "--components", "2", "--held-out", "0.4", "--seed", seed]
        size = ["--image-size", "32", "--view", "whole", "--test-batch-size", "4"]
        run = str(root / f"pca-seed{seed}")
        train.main(["--data", str(tiny_folder), *size, *flags, "--run", run])
    return root


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def results(run: Path) -> dict[str, dict[str, float]]:
    return json.loads((run / "results.json").read_text())["scores"]


def kind_of(score: str, run: Path) -> str:
    """The name of a row's score in the results of a run."""
    name, _ = scores.SCORES[score]
    return (
        json.loads((run / "results.json").read_text())["headline"]
        if name == scores.HEADLINE
        else name
    )


@pytest.mark.slow
def test_rows_are_the_results_of_the_runs(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    scores.main(["--runs", str(runs), "--out", str(tmp_path)])
    rows = {row["score"]: row for row in read(tmp_path / "scores.csv")}
    own = ("SSIM, mean", "MS-SSIM, mean", "L2 calibrated, chosen", "Combined, chosen", "headline")
    lacking = {
        score for score, (name, _) in scores.SCORES.items() if "segm" in name or name == "l2_ld"
    }
    assert list(rows) == [score for score in scores.SCORES if score not in lacking]
    for score in own:
        assert rows[score]["seeds"] == "2"
        for name, stored in (
            ("image_auroc", "image_auroc"),
            ("pixel_auroc", "pixel_auroc"),
            ("aupro", "pixel_aupro"),
        ):
            values = [results(run)[kind_of(score, run)][stored] for run in sorted(runs.iterdir())]
            assert float(rows[score][f"{name}_mean"]) == pytest.approx(np.mean(values))
            assert float(rows[score][f"{name}_sd"]) == pytest.approx(np.std(values, ddof=1))
    gains = [
        results(run)[kind_of("headline", run)]["image_auroc"] - results(run)["ssim"]["image_auroc"]
        for run in runs.iterdir()
    ]
    text = (tmp_path / "scores.md").read_text()
    gain = f"gain {np.mean(gains):.3f} ± {np.std(gains, ddof=1):.3f}"
    assert gain in text
    assert gain in capsys.readouterr().out
    assert (tmp_path / "scores.png").stat().st_size > 5000
    assert (tmp_path / "scores.svg").exists()


@pytest.mark.slow
def test_listed_images_are_left_out(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "listed").write_text("good/0\n2\n")
    command = [
        "--runs",
        str(runs / "pca-seed1"),
        "--without",
        str(tmp_path / "listed"),
        "--out",
        str(tmp_path),
    ]
    scores.main(command)
    rows = {(row["images"], row["score"]): row for row in read(tmp_path / "scores.csv")}
    assert {images for images, _ in rows} == {"all", "without 3 listed"}
    kept = [
        row
        for row in read(runs / "pca-seed1/scores.csv")
        if row["path"][5:] in ("good/1.png", "spot/0.png", "spot/1.png")
    ]
    assert len(kept) == 3
    expected = roc_auc_score(
        [int(row["label"]) for row in kept], [float(row["ssim"]) for row in kept]
    )
    assert float(rows["without 3 listed", "SSIM, mean"]["image_auroc_mean"]) == pytest.approx(
        expected
    )
    of_all = float(rows["all", "SSIM, mean"]["image_auroc_mean"])
    assert of_all == results(runs / "pca-seed1")["ssim"]["image_auroc"]
    (tmp_path / "listed").write_text("good/0\ngood/7\n")
    with pytest.raises(InputError, match="listed: good/7 is not a test image"):
        scores.main(command)


def test_every_map_has_its_scores() -> None:
    for name in maps.SCORES:
        poolings = [pooling for map_of, pooling in scores.SCORES.values() if map_of == name]
        assert poolings == (["mean"] if maps.SCORES[name] in maps.PLAIN else ["mean", None])
    assert scores.SCORES[scores.PLAIN] == ("ssim", "mean")  # the paper's


@pytest.mark.slow
def test_another_test_inside_a_run_is_no_run(runs: Path, tmp_path: Path) -> None:
    run = shutil.copytree(runs / "pca-seed0", tmp_path / "runs/run")
    evaluate.main([str(run), "--pooling", "peak"])
    assert (run / "evaluation/results.json").exists()
    assert [folder.path for folder in scores.find_runs([tmp_path / "runs"])] == [run]
    assert [folder.path for folder in scores.find_runs([run / "evaluation"])] == [
        run / "evaluation"
    ]


@pytest.mark.slow
def test_wrong_runs(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--runs .*: no finished run there"):
        scores.main(["--runs", str(tmp_path), "--out", str(tmp_path / "out")])
    copy = shutil.copytree(runs / "pca-seed0", tmp_path / "copy")
    with pytest.raises(InputError, match=r"a second run of tiny.*, pca, seed 0; name one"):
        scores.main(["--runs", str(runs), str(copy), "--out", str(tmp_path / "out")])
    stored = json.loads((copy / "results.json").read_text())
    (copy / "results.json").write_text(json.dumps({**stored, "data_digest": 64 * "0"}))
    with pytest.raises(InputError, match=r"copy/results.json: of other images than .*tiny"):
        scores.main(["--runs", str(copy), "--out", str(tmp_path / "out")])

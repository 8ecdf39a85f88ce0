"""Scoring pictures without labels."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax import predict, train


def read(file: Path) -> list[dict[str, str]]:
    with file.open() as table:
        return list(csv.DictReader(table))


def test_predictions_equal_the_run_s_own_scores(tiny_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    predict.main([str(tiny_run), str(tiny_folder / "test"), "--out", str(tmp_path)])
    found = read(tmp_path / "predictions.csv")
    own = {str(tiny_folder / row["path"]): row for row in read(tiny_run / "scores.csv")}
    assert [row["path"] for row in found] == list(own)
    calibration = json.loads((tiny_run / "calibration.json").read_text())
    headline = calibration["headline"]
    threshold = calibration["thresholds"][headline]
    for row in found:
        for kind in ("l2", "ssim", "ssim_calibrated"):
            assert float(row[kind]) == pytest.approx(float(own[row["path"]][kind]), abs=1e-6)
        assert int(row["anomalous"]) == int(float(row[headline]) > threshold)


def test_maps_and_pictures_have_the_size_of_the_image(tiny_run: Path, tmp_path: Path) -> None:
    height, width = 57, 31
    grey = np.random.default_rng(0).integers(0, 2**16, (height, width), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.tif")
    (tmp_path / "other").mkdir()
    Image.new("RGBA", (width, height)).save(tmp_path / "other/grey.png")
    out = tmp_path / "out"
    predict.main([str(tiny_run), str(tmp_path / "grey.tif"), str(tmp_path / "other"), "--out", str(out)])
    for name in ("grey", "grey-2"):
        anomaly_map = np.load(out / "maps" / f"{name}.npy", allow_pickle=False)
        assert anomaly_map.shape == (height, width)
        assert anomaly_map.dtype == np.float32
        assert np.asarray(Image.open(out / "pictures" / f"{name}.png")).shape == (height, width, 3)


def test_normal_images_suffice_to_train_and_predict(
    tiny_folder: Path, tiny_flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_folder / "train", tmp_path / "data/train")
    run = tmp_path / "run"
    train.main([*tiny_flags, "--data", str(tmp_path / "data"), "--run", str(run)])
    assert "No test images" in capsys.readouterr().out
    assert not (run / "results.json").exists()
    predict.main([str(run), str(tiny_folder / "test/spot/0.png"), "--out", str(tmp_path / "out")])
    assert len(read(tmp_path / "out/predictions.csv")) == 1

"""Calibrated maps and scores, from the held-out images to every file of a run."""

import csv
import json
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from i3ad_jax.calibration.calibrated import add_calibrated
from i3ad_jax.calibration.calibration import Calibration, calibrate, plain_anomaly_maps
from i3ad_jax.calibration.standardisation import ScoringSettings, statistics
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.methods.method import State
from i3ad_jax.methods.state import Trained
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runs.calibration_file import calibration_json, read_calibration, write_calibration
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.maps import POOLINGS, AnomalyMaps, image_scores
from i3ad_jax.train import __main__ as train

SIDE = 32
CONFIG = default_config("pca").with_settings(
    {"image_size": SIDE, "view": "whole", "components": 3, "queue_size": 9}
)
METHOD = CONFIG.build()
RNG = np.random.default_rng(0)


def pictures(count: int) -> np.ndarray:
    """A ramp under noise that grows from left to right."""
    ramp = np.linspace(40, 200, SIDE)
    noise = RNG.normal(0, np.linspace(2, 30, SIDE)[:, None], (count, SIDE, SIDE, 3))
    return np.clip(ramp[:, None, None] + noise, 0, 255).astype(np.uint8)


TRAINED_ON, HELD_OUT = pictures(12), pictures(9)
PREPROCESSING = Preprocessing.learn(TRAINED_ON, HELD_OUT, side=SIDE)


@pytest.fixture(scope="module")
def state() -> State:
    return METHOD.fit_at_once(np.asarray(PREPROCESSING.squares(TRAINED_ON).images))


def trained(state: State) -> Trained:
    return Trained(METHOD, state, PREPROCESSING, 1)


def plain_maps(state: State) -> AnomalyMaps:
    return plain_anomaly_maps(trained(state), {}, HELD_OUT)


@pytest.fixture(scope="module")
def plain(state: State) -> np.ndarray:
    """The plain SSIM maps of the held-out images."""
    return plain_maps(state)["ssim"]


def calibrated(
    state: State, *, images: np.ndarray = HELD_OUT, scoring: ScoringSettings = CONFIG.scoring
) -> Calibration:
    return calibrate(trained(state), images, scoring=scoring, seed=0)


@pytest.mark.parametrize("by", ["pixel", "global", "none"])
def test_thresholds_are_of_images_that_the_statistics_have_not_seen(
    by: Literal["pixel", "global", "none"], state: State, plain: np.ndarray
) -> None:
    scoring = ScoringSettings(standardise=by, pooling="top_1")
    found = calibrated(state, scoring=scoring)
    scores = []
    for index, own in enumerate(plain):
        others = statistics(np.delete(plain, index, axis=0), by)
        scores.append(np.sort(others.standardise(own).ravel())[-10:].mean())  # 1 % of 32 x 32
    if by != "none":  # calibrated maps are in units of these scores
        scores = (np.array(scores) - np.mean(scores)) / np.std(scores)
    assert found.thresholds["ssim_calibrated"] == pytest.approx(np.quantile(scores, 0.95), rel=1e-4)
    assert found.thresholds["ssim"] == np.quantile(image_scores(plain, "mean"), 0.95)
    maps = found.complete(plain_maps(state))
    if by == "pixel":
        seen = found.image_scores(maps)["ssim_calibrated"]
        assert np.quantile(seen, 0.95) < found.thresholds["ssim_calibrated"]


def test_calibrated_maps_stand_beside_the_plain_ones(state: State, plain: np.ndarray) -> None:
    found = calibrated(state)
    chosen = found.standardise["ssim_calibrated"]
    assert (
        chosen["by"] == max(chosen["log_likelihoods"], key=chosen["log_likelihoods"].get) == "pixel"
    )
    maps = found.complete(plain_maps(state))
    plain_names = ["l2", "ssim", "ms_ssim"]
    assert list(maps) == [*plain_names, *(f"{name}_calibrated" for name in plain_names), "combined"]
    assert found.fusion is not None
    np.testing.assert_array_equal(maps["combined"], found.fusion.map(maps))
    np.testing.assert_array_equal(maps["ssim"], plain)
    # A map in standard deviations, except for its unit and its zero, which are the image scores'.
    standardised = statistics(plain, "pixel").standardise(plain)
    unit, zero = np.polyfit(standardised.ravel(), maps["ssim_calibrated"].ravel(), 1)
    np.testing.assert_allclose(maps["ssim_calibrated"], unit * standardised + zero, atol=1e-3)
    assert unit > 0


def test_files_hold_all_of_it(state: State, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written = calibrated(state)
    write_calibration(written, folder)
    read = read_calibration(folder, method=METHOD, size=(SIDE, SIDE), step=1, state=state)
    assert calibration_json(read) == calibration_json(written)
    assert (
        list(read.statistics)
        == list(written.statistics)
        == [
            "l2_calibrated",
            "ssim_calibrated",
            "ms_ssim_calibrated",
        ]
    )
    for name, found in written.statistics.items():
        np.testing.assert_array_equal(read.statistics[name].mean, found.mean)
        np.testing.assert_array_equal(read.statistics[name].sd, found.sd)
    (folder.statistics / "ssim_calibrated.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"ssim_calibrated\.npy is not the file"):
        read_calibration(folder, method=METHOD, size=(SIDE, SIDE), step=1, state=state)


def test_one_held_out_image_is_enough(state: State) -> None:
    assert np.isfinite(calibrated(state, images=HELD_OUT[:1]).thresholds["ssim_calibrated"])


@pytest.mark.parametrize("by", ["pixel", "global"])
def test_combined_score_is_of_all_maps_that_say_something_else(
    by: Literal["pixel", "global"], state: State
) -> None:
    found = calibrated(state, scoring=ScoringSettings(standardise=by))
    plain, calibrated_names = ["l2", "ssim", "ms_ssim"], list(found.statistics)
    assert found.fusion is not None
    assert list(found.fusion.parts) == plain + (calibrated_names if by == "pixel" else [])
    assert (
        list(found.planted_auroc)
        == list(found.thresholds)
        == [*plain, *calibrated_names, "combined"]
    )
    assert list(found.pooling) == [*plain, *calibrated_names]
    assert {found.pooling[name] for name in plain} == {"mean"}
    for name, own in found.planted_auroc.items():
        assert set(own) == ({"weighted"} if name == "combined" else set(POOLINGS))
    for name, part in found.fusion.parts.items():
        assert found.planted_auroc[name][part.pooling] == max(found.planted_auroc[name].values())
    assert found.headline == "combined"


def test_a_given_pooling_is_that_of_all_parts(state: State) -> None:
    found = calibrated(state, scoring=ScoringSettings(pooling="peak"))
    assert found.fusion is not None
    assert {part.pooling for part in found.fusion.parts.values()} == {"peak"}
    assert found.pooling["ssim"] == "mean"


def test_calibrated_maps_are_in_units_of_their_image_score(state: State) -> None:
    maps = plain_maps(state)
    unseen, planted = dict(maps), dict(maps)
    add_calibrated(unseen, planted, np.arange(len(HELD_OUT)), CONFIG.scoring)
    calibrated_names = [name for name in unseen if name.endswith("_calibrated")]
    assert calibrated_names
    for name in calibrated_names:
        scores = image_scores(unseen[name], "top_1")
        assert scores.mean() == pytest.approx(0, abs=1e-3)
        assert scores.std() == pytest.approx(1, rel=1e-3)
        # copies are standardised like their image
        np.testing.assert_array_equal(planted[name], unseen[name])


def columns(file: Path) -> dict[str, list[str]]:
    with file.open(newline="") as lines:
        header, *rows = csv.reader(lines)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def test_without_standardising_and_pooling_it_is_the_plain_score(
    pca_run: Path, tmp_path: Path
) -> None:
    evaluate.main(
        [str(pca_run), "--out", str(tmp_path), "--standardise", "none", "--pooling", "mean"]
    )
    scores = columns(tmp_path / "scores.csv")
    assert scores["ssim_calibrated"] == scores["ssim"] == columns(pca_run / "scores.csv")["ssim"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["scores"]["ssim_calibrated"] == results["scores"]["ssim"]
    assert results["thresholds"]["ssim_calibrated"] == results["thresholds"]["ssim"]


def test_resume_and_evaluate_calibrate_a_run_stopped_before_calibration(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    for number, again in enumerate((["--resume", "--run"], [])):
        out = tmp_path / f"found{number}"
        command = [str(tiny_folder / "test"), "--out", str(out), "--save", "maps"]
        run = shutil.copytree(pca_run, tmp_path / f"run{number}")
        shutil.rmtree(run / "statistics")
        (run / "calibration.json").unlink()
        with pytest.raises(InputError, match=r"calibration\.json: missing"):
            predict.main([str(run), *command])
        (train if again else evaluate).main([*again, str(run)])
        for file in ("scores.csv", "calibration.json", "statistics/ssim_calibrated.npy"):
            assert (run / file).read_bytes() == (pca_run / file).read_bytes()
        predict.main([str(run), *command, "--score", "ssim_calibrated"])
        found = columns(out / "predictions.csv")
        own = [float(score) for score in columns(run / "scores.csv")["ssim_calibrated"]]
        assert [float(score) for score in found["ssim_calibrated"]] == pytest.approx(own, rel=1e-5)
        threshold = json.loads((run / "calibration.json").read_text())["thresholds"][
            "ssim_calibrated"
        ]
        assert found["anomalous"] == [str(int(score > threshold)) for score in own]
        # deviations: 1 - SSIM is never negative
        assert np.load(out / found["map"][0]).min() < 0


def test_other_settings_do_not_touch_the_run_s_calibration(pca_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(pca_run, tmp_path / "run")
    evaluate.main([str(run), "--standardise", "global"])
    assert (run / "calibration.json").read_bytes() == (pca_run / "calibration.json").read_bytes()
    written = json.loads((run / "evaluation/calibration.json").read_text())
    assert written["standardise"]["ssim_calibrated"]["by"] == "global"

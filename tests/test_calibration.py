"""Calibrated maps and scores, from the held-out images to every file of a run."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from i3ad_jax import evaluate, predict, train
from i3ad_jax.calibration import Calibration, calibrate, choose_poolings, plain_anomaly_maps
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import State
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.maps import POOLINGS, SCORES, AnomalyMaps, Pooling, image_scores
from i3ad_jax.scoring.standardisation import ScoringSettings, statistics

SIDE = 32  # a planted defect needs as much
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


def plain_maps(state: State) -> AnomalyMaps:
    return plain_anomaly_maps(METHOD, state, {}, HELD_OUT, preprocessing=PREPROCESSING)


@pytest.fixture(scope="module")
def plain(state: State) -> np.ndarray:
    """The plain SSIM maps of the held-out images."""
    return plain_maps(state)["ssim"]


def calibrated(
    state: State, *, images: np.ndarray = HELD_OUT, scoring: ScoringSettings = CONFIG.scoring
) -> Calibration:
    return calibrate(METHOD, state, images, preprocessing=PREPROCESSING, scoring=scoring, seed=0, step=1)


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
    assert found.thresholds["ssim_calibrated"] == pytest.approx(np.quantile(scores, 0.95), rel=1e-4)
    assert found.thresholds["ssim"] == np.quantile(image_scores(plain, "mean"), 0.95)
    maps = found.complete(plain_maps(state))
    if by == "pixel":
        seen = found.image_scores(maps)["ssim_calibrated"]
        assert np.quantile(seen, 0.95) < found.thresholds["ssim_calibrated"]


def test_calibrated_maps_stand_beside_the_plain_ones(state: State, plain: np.ndarray) -> None:
    found = calibrated(state)
    chosen = found.standardise["ssim_calibrated"]
    assert chosen["by"] == max(chosen["log_likelihoods"], key=chosen["log_likelihoods"].get) == "pixel"
    maps = found.complete(plain_maps(state))
    plain_names = ["l2", "ssim", "ms_ssim"]
    assert list(maps) == [*plain_names, *(f"{name}_calibrated" for name in plain_names), "combined"]
    calibrated_maps = [maps[f"{name}_calibrated"] for name in plain_names]
    np.testing.assert_allclose(maps["combined"], sum(calibrated_maps) / 3, atol=1e-5)
    np.testing.assert_array_equal(maps["ssim"], plain)
    np.testing.assert_array_equal(maps["ssim_calibrated"], statistics(plain, "pixel").standardise(plain))


def test_files_hold_all_of_it(state: State, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written = calibrated(state)
    written.write(folder)
    read = Calibration.read(folder, method=METHOD, size=(SIDE, SIDE), step=1, state=state)
    assert read.to_json() == written.to_json()
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
    with pytest.raises(InputError, match=r"ssim_calibrated\.npy: cannot be read"):
        Calibration.read(folder, method=METHOD, size=(SIDE, SIDE), step=1, state=state)


def test_one_held_out_image_is_enough(state: State) -> None:
    assert np.isfinite(calibrated(state, images=HELD_OUT[:1]).thresholds["ssim_calibrated"])


def anomalous(where: Any, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal maps of noise, and the same raised by so much at a place."""
    normal = RNG.normal(size=(40, 64, 64)).astype(np.float32)
    # What differs between images is their level: a single pixel stands out from its own map alone.
    normal += RNG.normal(0, 0.05, (40, 1, 1)).astype(np.float32)
    planted = normal.copy()
    planted[where] += by
    return normal, planted


@pytest.mark.parametrize(
    ("where", "by", "best"),
    [(np.s_[:, 20, 30], 8.0, "top_01"), (np.s_[:], 0.3, "mean")],
    ids=["one pixel", "the whole map"],
)
def test_the_pooling_that_separates_planted_defects_is_chosen(where: Any, by: float, best: Pooling) -> None:
    normal, planted = anomalous(where, by)
    name = "ssim_calibrated"
    chosen, areas = choose_poolings({name: normal}, {name: planted}, "auto")
    assert chosen == {name: best}
    assert list(areas[name]) == list(POOLINGS)
    for pooling in POOLINGS:
        area = areas[name][pooling]
        low, high = (image_scores(maps, pooling) for maps in (normal, planted))
        ranks = (low[:, None] < high).mean() + (low[:, None] == high).mean() / 2  # Mann and Whitney's
        assert area == pytest.approx(ranks)
        assert area <= areas[name][best]


def test_plain_scores_are_means_and_a_given_pooling_is_that_of_the_others() -> None:
    normal, planted = anomalous(np.s_[:, 20, 30], 8.0)
    names = ("ssim", "ssim_calibrated", "combined")
    chosen, areas = choose_poolings(dict.fromkeys(names, normal), dict.fromkeys(names, planted), "peak")
    assert chosen == {"ssim": "mean", "ssim_calibrated": "peak", "combined": "peak"}
    assert {name: list(own) for name, own in areas.items()} == {n: [p] for n, p in chosen.items()}


def test_the_headline_has_the_best_auroc_of_planted_defects(state: State) -> None:
    found = calibrated(state)
    best = {name: own[found.pooling[name]] for name, own in found.planted_auroc.items()}
    assert list(best) == list(found.thresholds)
    assert best[found.headline] == max(best.values())
    assert best[found.headline] > 0.5
    for name, own in found.planted_auroc.items():
        assert list(own) == (["mean"] if SCORES[name].map else list(POOLINGS))
        assert own[found.pooling[name]] == max(own.values())


def columns(file: Path) -> dict[str, list[str]]:
    with file.open(newline="") as lines:
        header, *rows = csv.reader(lines)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def test_without_standardising_and_pooling_it_is_the_plain_score(pca_run: Path, tmp_path: Path) -> None:
    evaluate.main([str(pca_run), "--out", str(tmp_path), "--standardise", "none", "--pooling", "mean"])
    scores = columns(tmp_path / "scores.csv")
    assert scores["ssim_calibrated"] == scores["ssim"] == columns(pca_run / "scores.csv")["ssim"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["scores"]["ssim_calibrated"] == results["scores"]["ssim"]
    assert results["thresholds"]["ssim_calibrated"] == results["thresholds"]["ssim"]


def test_a_run_that_was_stopped_before_it_was_calibrated_is_calibrated_by_resume_and_by_evaluate(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    command = [str(tiny_folder / "test"), "--out", str(tmp_path / "found")]
    for number, again in enumerate((["--resume", "--run"], [])):
        run = shutil.copytree(pca_run, tmp_path / f"run{number}")
        shutil.rmtree(run / "statistics")
        (run / "calibration.json").unlink()
        with pytest.raises(InputError, match=r"calibration\.json: missing"):
            predict.main([str(run), *command])
        (train if again else evaluate).main([*again, str(run)])
        for file in ("scores.csv", "calibration.json", "statistics/ssim_calibrated.npy"):
            assert (run / file).read_bytes() == (pca_run / file).read_bytes()
        predict.main([str(run), *command, "--score", "ssim_calibrated"])
        found = columns(tmp_path / "found/predictions.csv")
        own = [float(score) for score in columns(run / "scores.csv")["ssim_calibrated"]]
        assert [float(score) for score in found["ssim_calibrated"]] == pytest.approx(own, rel=1e-5)
        threshold = json.loads((run / "calibration.json").read_text())["thresholds"]["ssim_calibrated"]
        assert found["anomalous"] == [str(int(score > threshold)) for score in own]
        assert np.load(tmp_path / "found/maps/0.npy").min() < 0  # deviations: 1 - SSIM is never negative


def test_other_settings_do_not_touch_the_run_s_calibration(pca_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(pca_run, tmp_path / "run")
    evaluate.main([str(run), "--standardise", "global"])
    assert (run / "calibration.json").read_bytes() == (pca_run / "calibration.json").read_bytes()
    written = json.loads((run / "evaluation/calibration.json").read_text())
    assert written["standardise"]["ssim_calibrated"]["by"] == "global"

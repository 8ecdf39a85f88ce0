"""The whole way from flags to a run folder, and back into it: interruption and resuming."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError, LearnedLittleWarning
from i3ad_jax.methods.state import state_shapes
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runs.weights import load_weights
from i3ad_jax.scoring.maps import image_scores
from i3ad_jax.train import __main__ as train
from i3ad_jax.train import session
from i3ad_jax.training import recorded
from i3ad_jax.training.steps import Step
from tests.conftest import FlagsOf, RunOf, tiny_settings

# One method that compiles in a second; I3AD among the slow tests.
QUICK_AND_FULL = pytest.mark.parametrize(
    "method", ["l2_ae", pytest.param("i3ad", marks=pytest.mark.slow)]
)
SCORES = (  # of I3AD
    *("l2", "ssim", "ms_ssim", "segmentation"),
    *(
        "l2_calibrated",
        "ssim_calibrated",
        "ms_ssim_calibrated",
        "segmentation_calibrated",
        "combined",
    ),
)


def final_state(run: Path) -> list[np.ndarray]:
    """Every array of the newest checkpoint."""
    folder = RunFolder(run)
    _, state = load_weights(folder, folder.read_plan().method)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_same_bits(run: Path, other: Path) -> None:
    for left, right in zip(final_state(run), final_state(other), strict=True):
        np.testing.assert_array_equal(left, right)


def test_run_folder_is_complete(tiny_run: Path) -> None:
    results = json.loads((tiny_run / "results.json").read_text())
    assert results["num_test_normal"] == 3
    assert results["num_test_anomalous"] == 3
    assert 0.1 <= results["u"] <= 0.5
    for kind in SCORES:
        metrics = results["scores"][kind]
        assert all(
            0 <= metrics[name] <= 1 for name in ("image_auroc", "pixel_auroc", "pixel_aupro")
        )
        assert np.load(tiny_run / "maps" / f"{kind}.npy").shape == (6, 32, 32)
    assert (tiny_run / "report.html").read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in (tiny_run / "samples").iterdir()) == [
        "step_0000003.png",
        "step_0000006.png",
    ]
    environment = json.loads((tiny_run / "environment.json").read_text())
    assert environment["packages"]["jax"] == jax.__version__
    assert [path.name for path in tiny_run.rglob(".*")] == [".lock"]


def test_scores_are_the_mean_of_the_maps(tiny_run: Path) -> None:
    with (tiny_run / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "defect", *SCORES]
    assert [row["label"] for row in rows] == ["0", "0", "0", "1", "1", "1"]
    assert rows[3]["path"] == "test/spot/0.png"
    pooling = json.loads((tiny_run / "results.json").read_text())["pooling"]
    for kind in ("l2", "ssim", "ms_ssim", "segmentation"):
        assert pooling[kind] == "mean"
        maps = np.load(tiny_run / "maps" / f"{kind}.npy").astype(np.float64)
        np.testing.assert_allclose(
            [float(row[kind]) for row in rows], maps.mean(axis=(1, 2)), rtol=1e-12
        )
    for kind in ("ssim_calibrated", "segmentation_calibrated"):
        expected = image_scores(np.load(tiny_run / "maps" / f"{kind}.npy"), pooling[kind])
        np.testing.assert_allclose([float(row[kind]) for row in rows], expected, rtol=1e-12)


def test_the_combined_score_is_the_weighted_mean_in_normal_units(
    tiny_run: Path,
) -> None:
    with (tiny_run / "scores.csv").open() as file:
        found = [float(row["combined"]) for row in csv.DictReader(file)]
    parts = json.loads((tiny_run / "calibration.json").read_text())["fusion"]
    assert {"l2", "ssim", "ms_ssim", "segmentation"} <= parts.keys()
    scores, maps = np.zeros(len(found)), np.zeros((6, 32, 32))
    for name, part in parts.items():
        own = np.load(tiny_run / "maps" / f"{name}.npy")
        for total, values, unit in (
            (scores, image_scores(own, part["pooling"]), "score"),
            (maps, own, "map"),
        ):
            mean, sd = part[unit]
            total += part["weight"] * (values - mean) / sd
    np.testing.assert_allclose(found, scores, rtol=1e-6)
    combined = np.load(tiny_run / "maps/combined.npy")
    np.testing.assert_allclose(combined, maps, rtol=1e-4, atol=1e-3)


def test_the_results_say_what_was_chosen_and_learned(tiny_run: Path) -> None:
    results, calibration, plan = (
        json.loads((tiny_run / f"{name}.json").read_text())
        for name in ("results", "calibration", "plan")
    )
    for name in ("learned", "headline", "pooling", "planted_auroc", "thresholds", "standardise"):
        assert results[name] == calibration[name]
    assert results["preprocessing"] == plan["preprocessing"]
    assert results["headline"] == "combined"
    assert list(results["pooling"]) == [name for name in SCORES if name != "combined"]
    assert {"held_out_l1", "spread_over_images", "problem"} <= results["learned"].keys()
    last = (tiny_run / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["held_out_l1"] == pytest.approx(
        results["learned"]["held_out_l1"], rel=1e-5
    )


def test_a_training_that_learns_nothing_says_so(tiny_folder: Path, tmp_path: Path) -> None:
    # One component of images that share nothing but their mean tells less than the mean.
    settings = {**tiny_settings("pca"), "data": str(tiny_folder), "components": 1}
    config = default_config("pca").with_settings(settings)
    with pytest.warns(LearnedLittleWarning) as warned:
        results = session.train_and_test(config, RunFolder(tmp_path / "run"))
    assert results is not None
    problem = results["learned"]["problem"]
    assert [str(warning.message) for warning in warned] == [problem]
    assert "results mean little" in problem
    assert "\n" not in problem
    assert json.loads((tmp_path / "run/results.json").read_text())["learned"]["problem"] == problem


@QUICK_AND_FULL
def test_same_seed_same_bits_other_seed_other_bits(
    run_of: RunOf, flags_of: FlagsOf, method: str, tmp_path: Path
) -> None:
    first = run_of(method)
    train.main([*flags_of(method), "--run", str(tmp_path / "same")])
    assert_same_bits(first, tmp_path / "same")
    assert (first / "scores.csv").read_text() == (tmp_path / "same/scores.csv").read_text()
    train.main([*flags_of(method), "--run", str(tmp_path / "other"), "--seed", "1"])
    assert (first / "scores.csv").read_text() != (tmp_path / "other/scores.csv").read_text()


@QUICK_AND_FULL
def test_more_steps_continue_as_if_never_stopped(
    run_of: RunOf, flags_of: FlagsOf, method: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train.main([*flags_of(method), "--run", str(run), "--steps", "3"])
    train.main(["--run", str(run), "--resume", "--steps", "6"])
    assert_same_bits(run_of(method), run)
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
@QUICK_AND_FULL
def test_signal_saves_and_says_how_to_resume(
    run_of: RunOf,
    flags_of: FlagsOf,
    method: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    run = tmp_path / "run"
    training_steps = recorded.training_steps

    def interrupted_steps(*args: Any, **kwargs: Any) -> Iterator[Step]:
        for step in training_steps(*args, **kwargs):
            if step.number == 2:
                os.kill(os.getpid(), number)
            yield step

    monkeypatch.setattr(recorded, "training_steps", interrupted_steps)
    with pytest.raises(SystemExit) as stop:
        train.main([*flags_of(method), "--run", str(run)])
    assert stop.value.code == 128 + number
    assert f"--run {run} --resume" in capsys.readouterr().err
    assert not (run / "results.json").exists()
    monkeypatch.undo()
    train.main(["--run", str(run), "--resume"])
    assert_same_bits(run_of(method), run)


def test_resume_accepts_no_other_setting(tiny_run: Path) -> None:
    with pytest.raises(InputError, match="--width 4"):
        train.main(["--run", str(tiny_run), "--resume", "--width", "4"])
    with pytest.raises(InputError, match="--steps 2"):
        train.main(["--run", str(tiny_run), "--resume", "--steps", "2"])


def test_the_default_preset_on_a_gpu_names_the_one_for_it() -> None:
    memory = 6 * 2**30
    assert "--preset gpu" in (train.preset_hint(default_config("i3ad"), memory) or "")
    assert train.preset_hint(default_config("i3ad"), None) is None
    for preset in ("gpu", "quick"):
        assert train.preset_hint(default_config("i3ad", preset=preset), memory) is None


def test_divergence_keeps_the_last_checkpoint(run_of: RunOf, tmp_path: Path) -> None:
    run = shutil.copytree(run_of("l2_ae"), tmp_path / "run")
    folder = RunFolder(run)
    with Checkpoints(folder.checkpoints) as checkpoints:
        state = checkpoints.load(state_shapes(folder.read_plan().method))
        spoiled = jax.tree.map(lambda leaf: leaf * np.nan, state.weights)
        checkpoints.save(7, dataclasses.replace(state, weights=spoiled))
    kept = final_state(run)
    with pytest.raises(InputError, match=r"diverged at step 8 .* checkpoint of step 7 is kept"):
        train.main(["--run", str(run), "--resume", "--steps", "8"])
    for left, right in zip(kept, final_state(run), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
def test_killed_ten_times_ends_in_the_same_bits(tiny_flags: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "i3ad_jax.train"]
    flags = [*tiny_flags, "--steps", "1000", "--checkpoint-every", "10", "--sample-every", "1000"]
    subprocess.run([*command, *flags, "--run", str(tmp_path / "unbroken")], check=True)
    run = tmp_path / "killed"
    rng = np.random.default_rng(0)
    arguments = [*flags, "--run", str(run)]
    for _ in range(10):
        process = subprocess.Popen([*command, *arguments])
        goal = latest_step(run) + rng.integers(1, 30)
        while latest_step(run) < goal and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        assert process.poll() is None, "training was over before it could be killed"
        process.kill()
        process.wait()
        arguments = ["--run", str(run), "--resume"]
    subprocess.run([*command, *arguments], check=True)
    assert_same_bits(tmp_path / "unbroken", run)


def latest_step(run: Path) -> int:
    return max(
        (int(path.name) for path in (run / "checkpoints").glob("*") if path.name.isdigit()),
        default=0,
    )

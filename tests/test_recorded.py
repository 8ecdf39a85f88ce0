"""`Detector.fit` with a run folder: what it leaves there, and resumption to the same bits."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from i3ad_jax import Detector, InputError, TrainingProgress
from i3ad_jax.methods.state import state_digest
from i3ad_jax.runs.files import read_json, write_json
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, tiny_settings

SETTINGS: dict[str, Any] = {"method": "l2_ae", **tiny_settings("l2_ae")}


def stop_at(step: int) -> Any:
    """Return a callback that ends a training."""

    def stop(progress: TrainingProgress) -> None:
        if progress.step == step:
            raise KeyboardInterrupt

    return stop


@pytest.fixture(scope="module")
def whole(tiny_folder: Path) -> Detector:
    return Detector.fit(tiny_folder, **SETTINGS)


def test_a_recorded_training_is_a_run_and_the_same_detector(
    tiny_folder: Path, whole: Detector, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    detector = Detector.fit(tiny_folder, folder=run, **SETTINGS)
    for own in (detector, Detector.load(run)):
        assert state_digest(own.state) == state_digest(whole.state)
        assert own.score(tiny_folder / "test") == whole.score(tiny_folder / "test")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]  # where there are checkpoints
    assert {file.name for file in (run / "samples").iterdir()} == {
        "step_0000003.png",
        "step_0000006.png",
    }


@pytest.mark.parametrize("step", [2, 3, 6])
def test_an_interrupted_fit_is_resumed_to_the_same_bits(
    tiny_folder: Path, whole: Detector, tmp_path: Path, step: int
) -> None:
    run, seen = tmp_path / "run", []
    with pytest.raises(KeyboardInterrupt):
        Detector.fit(tiny_folder, folder=run, callbacks=[stop_at(step)], **SETTINGS)
    resumed = Detector.fit(
        tiny_folder,
        folder=run,
        resume=True,
        callbacks=[lambda progress: seen.append(progress.step)],
        **SETTINGS,
    )
    assert seen[0] == (6 if step == 6 else step // 2 * 2 + 1)  # after the newest checkpoint
    assert state_digest(resumed.state) == state_digest(whole.state)
    assert resumed.score(tiny_folder / "test") == whole.score(tiny_folder / "test")


@pytest.fixture
def moved(tiny_folder: Path, tmp_path: Path) -> Callable[[Path], Path]:
    """Copies the data of a run to another place, so that the run's own is gone."""

    def move(run: Path) -> Path:
        settings = read_json(run / "config.json")
        settings["data"]["data"] = str(tmp_path / "gone")
        write_json(run / "config.json", settings)
        return shutil.copytree(tiny_folder, tmp_path / "elsewhere")

    return move


def test_a_fit_goes_on_with_data_that_have_moved(
    tiny_folder: Path, whole: Detector, moved: Callable[[Path], Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        Detector.fit(tiny_folder, folder=run, callbacks=[stop_at(3)], **SETTINGS)
    data = moved(run)
    resumed = Detector.fit(data, folder=run, resume=True, **SETTINGS)
    assert state_digest(resumed.state) == state_digest(whole.state)
    assert resumed.score(tiny_folder / "test") == whole.score(tiny_folder / "test")
    assert read_json(run / "config.json")["data"]["data"] == str(data)


def test_train_goes_on_with_data_that_have_moved(
    l2_run: Path, moved: Callable[[Path], Path], tmp_path: Path, fails: Fails
) -> None:
    run = shutil.copytree(l2_run, tmp_path / "run")
    data = moved(run)
    arguments = ["--run", str(run), "--resume"]
    gone = fails(train.main, arguments)
    assert f"--data {tmp_path / 'gone'}: no such folder or file; give its new place" in gone
    before = (run / "calibration.json").read_bytes()
    train.main([*arguments, "--data", str(data)])
    assert read_json(run / "config.json")["data"]["data"] == str(data)
    assert read_json(run / "results.json")["data_source"] == str(data)
    assert (run / "calibration.json").read_bytes() == before
    train.main(arguments)  # and without naming it again


def test_a_run_goes_on_with_packed_data(l2_run: Path, packed: Path, tmp_path: Path) -> None:
    run = shutil.copytree(l2_run, tmp_path / "run")
    train.main(["--run", str(run), "--resume", "--data", str(packed)])
    assert read_json(run / "results.json")["data_source"] == str(packed)


def test_other_data_in_another_place_are_refused(
    l2_run: Path, moved: Callable[[Path], Path], tmp_path: Path, fails: Fails
) -> None:
    run = shutil.copytree(l2_run, tmp_path / "run")
    data, before = moved(run), (run / "config.json").read_bytes()
    shutil.copy(data / "train/good/1.png", data / "train/good/0.png")
    message = fails(train.main, ["--run", run, "--resume", "--data", data])
    assert f"--data {data}: not the run's images: train/good/0.png: changed since" in message
    assert (run / "config.json").read_bytes() == before
    assert "--data textures:weave: not the run's images" in fails(
        train.main, ["--run", run, "--resume", "--data", "textures:weave"]
    )


def test_resume_begins_a_new_run_and_adds_steps_to_a_finished_one(
    tiny_folder: Path, whole: Detector, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    Detector.fit(tiny_folder, folder=run, resume=True, **{**SETTINGS, "steps": 4})
    longer = Detector.fit(tiny_folder, folder=run, resume=True, **SETTINGS)
    assert state_digest(longer.state) == state_digest(whole.state)
    assert Detector.load(run).calibration.step == 6


def test_a_finished_run_keeps_its_rule(tiny_folder: Path, whole: Detector, tmp_path: Path) -> None:
    ruled = whole.with_rule(score="l2", false_alarm_rate=0.5)
    ruled.save(tmp_path / "run")
    again = Detector.fit(tiny_folder, folder=tmp_path / "run", resume=True, **SETTINGS)
    assert again.rule == Detector.load(tmp_path / "run").rule == ruled.rule


def test_train_resumes_a_run_by_its_rule_too(
    tiny_folder: Path, whole: Detector, tmp_path: Path
) -> None:
    ruled = whole.with_rule(score="l2", false_alarm_rate=0.5)
    ruled.save(tmp_path / "run")
    train.main(["--run", str(tmp_path / "run"), "--resume"])
    results = read_json(tmp_path / "run/results.json")
    assert (results["headline"], results["rule"]) == ("l2", ruled.rule.describe())
    assert results["thresholds"] == ruled.thresholds
    assert ruled.evaluate(tiny_folder).metrics["l2"] == results["scores"]["l2"]


def test_devices_that_are_not_there_leave_no_folder(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--devices 1000"):
        Detector.fit(tiny_folder, folder=tmp_path / "run", devices=1000, **SETTINGS)
    assert not (tmp_path / "run").exists()


def test_a_fit_on_arrays_is_resumed_on_the_same_arrays_only(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    run = tmp_path / "run"
    first = Detector.fit(images, folder=run, **SETTINGS)
    again = Detector.fit(images, folder=run, resume=True, **SETTINGS)
    assert jax.tree.all(jax.tree.map(np.array_equal, first.state, again.state))
    with pytest.raises(InputError, match=r"^0: changed since the run was trained"):
        Detector.fit(255 - images, folder=run, resume=True, **SETTINGS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "holds a run; continue it"),
        ({"resume": True, "seed": 1}, r"--seed 1: .* was trained with --seed 0"),
        ({"resume": True, "steps": 4}, r"--steps 4: .* was trained with --steps 6"),
        (
            {"resume": True, "method": "ssim_ae"},
            r"--method ssim_ae: .* trained with --method l2_ae",
        ),
    ],
)
def test_another_run_is_never_overwritten(
    l2_run: Path, tiny_folder: Path, changes: dict[str, Any], words: str
) -> None:
    before = {file: file.read_bytes() for file in l2_run.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match=words):
        Detector.fit(tiny_folder, **{**SETTINGS, "folder": l2_run, **changes})
    after = {file: file.read_bytes() for file in l2_run.rglob("*") if file.is_file()}
    assert before == after


@pytest.fixture(scope="module")
def l2_run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "l2"
    Detector.fit(tiny_folder, folder=folder, **SETTINGS)
    return folder

"""Training in sittings: where each stops, that they end in the same bits, and their number."""

import json
import math
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from i3ad_jax import Detector
from i3ad_jax.train import __main__ as train
from i3ad_jax.train import sitting
from i3ad_jax.train.sitting import Sitting
from i3ad_jax.training.recorded import TIME_IS_UP, Interrupted
from i3ad_jax.training.steps import Step
from tests.conftest import Fails, FlagsOf, RunOf

MOMENT = "0.000001"  # minutes that are over at the first step


def stopped(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """Train for one sitting; return its last message and the arguments that continue."""
    with pytest.raises(SystemExit) as stop:
        train.main(arguments)
    assert stop.value.code == 128 + signal.SIGALRM == 142
    message, command = capsys.readouterr().err.splitlines()[-2:]
    program, *words = shlex.split(command.removeprefix("  python -m "))
    assert program == "i3ad_jax.train"
    return message, words


@pytest.mark.parametrize("method", ["l2_ae", pytest.param("i3ad", marks=pytest.mark.slow)])
def test_sittings_end_in_the_bits_of_a_run_that_never_stopped(
    run_of: RunOf,
    flags_of: FlagsOf,
    method: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, never_stopped = tmp_path / "run", run_of(method)
    message, again = stopped([*flags_of(method), "--run", str(run), "--minutes", MOMENT], capsys)
    assert message == (
        "stopped after step 1, which is saved; about 5 sittings of 1e-06 min are left. Continue:"
    )
    assert again == ["--run", str(run), "--resume", "--minutes", "1e-06"]
    message, _ = stopped([*again, "--image-memory", "2.5"], capsys)
    assert "after step 2, which is saved; about 4 sittings" in message
    assert not (run / "results.json").exists()
    train.main(again[:-2])
    for name in ("config.json", "plan.json", "files.json", "calibration.json", "scores.csv"):
        assert (run / name).read_bytes() == (never_stopped / name).read_bytes(), name
    states = (jax.tree.leaves(Detector.load(folder).state) for folder in (run, never_stopped))
    for own, other in zip(*states, strict=True):
        np.testing.assert_array_equal(own, other)


def test_time_that_is_up_at_the_last_step_leaves_calibration_for_another(
    flags_of: FlagsOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*flags_of("pca"), "--run", str(tmp_path / "run"), "--minutes", MOMENT]
    message, again = stopped([*arguments, "--image-memory", "2.5"], capsys)
    assert message.endswith("step 1, which is saved; calibration and test are left. Continue:")
    assert again[-4:] == ["--image-memory", "2.5", "--minutes", "1e-06"]
    train.main(again)  # without steps there is nothing to stop
    assert (tmp_path / "run/results.json").exists()


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_minutes_must_be_positive(
    fails: Fails, flags_of: FlagsOf, tmp_path: Path, minutes: str
) -> None:
    arguments = [*flags_of("pca"), "--run", tmp_path / "run", f"--minutes={minutes}"]
    message = f"error: --minutes {minutes}: must be a positive number"
    assert fails(train.main, arguments) == message
    assert not (tmp_path / "run").exists()


class Simulated:
    """Training whose clock is the test's: the start, then each step, takes some seconds."""

    def __init__(self, start: float, step: float, minutes: float) -> None:
        self.now, self._start, self._step, self._minutes = 0.0, start, step, minutes

    def sit(self, done: int, total: int) -> int:
        """Train for a sitting; return the number of steps that are then done."""
        own = Sitting(self._minutes, self.now)
        for step in own.announced(self._steps(done, total), total=total):
            done = step.number
            if self.now >= own.end:
                break
        return done

    def _steps(self, done: int, total: int) -> Iterator[Step]:
        self.now += self._start
        for number in range(done + 1, total + 1):
            self.now += self._step
            yield Step(number, None, {})


@pytest.mark.parametrize(
    ("start", "step", "minutes", "total"),
    [(60, 0.5, 10, 5000), (30, 12, 10, 1000), (5, 0.01, 1, 20000), (100, 0.1, 15, 500)],
)
def test_the_number_of_sittings_is_that_of_a_simulation(
    start: float,
    step: float,
    minutes: float,
    total: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    training = Simulated(start, step, minutes)
    monkeypatch.setattr(sitting, "monotonic", lambda: training.now)
    done = [training.sit(0, total)]
    (announced,) = capsys.readouterr().err.splitlines()
    while done[-1] < total:
        done.append(training.sit(done[-1], total))
    count, plural = len(done), "s" * (len(done) > 1)
    assert announced.startswith(f"train: about {count} sitting{plural} of {minutes} min at ")
    left = Sitting(minutes, 0.0).describe_rest(
        Interrupted(done[0], TIME_IS_UP, taken=done[0], left=max(1, total - done[0]))
    )
    assert f"about {max(1, count - 1)} sitting" in left


def test_a_training_without_limit_announces_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Simulated(60, 1, math.inf)
    monkeypatch.setattr(sitting, "monotonic", lambda: training.now)
    steps = (Step(number, None, {}) for number in range(1, 100))
    for _ in Sitting().announced(steps, total=99):
        training.now += 1
    stop = Interrupted(9, signal.SIGINT, taken=9, left=90)
    assert Sitting().describe_rest(stop) == capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_process_stops_after_its_minutes(flags_of: FlagsOf, tmp_path: Path) -> None:
    flags = [*flags_of("l2_ae"), "--steps", "1000000", "--checkpoint-every", "1000000"]
    flags += ["--sample-every", "1000000", "--run", str(tmp_path / "run"), "--minutes", "0.75"]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "i3ad_jax.train", *flags],
        capture_output=True,
        text=True,
        timeout=600,
    )
    seconds = time.monotonic() - began
    assert done.returncode == 142, done.stderr
    assert seconds >= 45
    assert "train: about " in done.stderr
    assert "sittings of 0.75 min are left. Continue:" in done.stderr
    (checkpoint,) = (tmp_path / "run/checkpoints").iterdir()
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == int(checkpoint.name) > 100

"""A run's folder: its files, and one training in it at a time."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate.tested_run import write_evaluation
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.train import __main__ as train
from i3ad_jax.train import session
from tests.conftest import Fails, FlagsOf


@pytest.fixture
def run(pca_run: Path, tmp_path: Path) -> Path:
    """A finished run, to change."""
    return shutil.copytree(pca_run, tmp_path / "run")


@given(st.binary(max_size=300))
def test_whatever_stands_in_metrics_is_rows_or_left_out(
    tmp_path_factory: Any, content: bytes
) -> None:
    folder = RunFolder(tmp_path_factory.getbasetemp())
    good = b'{"step": 3, "loss": 0.5}\n'
    folder.metrics.write_bytes(good + content)
    rows = folder.read_metrics()
    assert rows[0] == {"step": 3, "loss": 0.5}
    assert all(type(row["step"]) is int for row in rows)


def content(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_second_training_in_the_folder_is_refused(
    fails: Fails, run: Path, tmp_path: Path, flags_of: FlagsOf
) -> None:
    before = content(run)
    with RunFolder(run).lock():
        assert f"{run}: another command" in fails(train.main, ["--run", run, "--resume"])
    assert content(run) == before
    new = tmp_path / "new"
    with RunFolder(new).lock():
        assert f"{new}: another command" in fails(train.main, [*flags_of("pca"), "--run", new])
    assert [file.name for file in new.iterdir()] == [".lock"]
    with RunFolder(new).lock(), pytest.raises(InputError, match="another command"):
        Detector.load(run).save(new)


def test_the_lock_holds_until_the_results_are_written(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = []

    def write_and_try(*arguments: Any, **keywords: Any) -> Any:
        with pytest.raises(InputError, match="another command"), RunFolder(run).lock():
            pass
        refused.append(True)
        return write_evaluation(*arguments, **keywords)

    monkeypatch.setattr(session, "write_evaluation", write_and_try)
    train.main(["--run", str(run), "--resume"])
    assert refused == [True]
    with RunFolder(run).lock():
        pass


def test_the_lock_holds_between_processes_and_ends_with_its_process(
    fails: Fails, run: Path
) -> None:
    hold = (
        "import pathlib, sys\n"
        "from i3ad_jax.runs.run_folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).lock():\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", hold, str(run)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert "another command works in this folder" in fails(
            train.main, ["--run", run, "--resume"]
        )
        process.kill()
    train.main(["--run", str(run), "--resume"])


def test_what_killed_processes_were_writing_goes_with_the_next_lock(run: Path) -> None:
    before = content(run)
    (run / ".12.config.json").write_text("{")
    (run / "maps/.345.l2.npy").touch()
    (run / "checkpoints/2.orbax-checkpoint-tmp/state.orbax-checkpoint-tmp").mkdir(parents=True)
    with RunFolder(run).lock():
        assert content(run) == before
        assert not (run / "checkpoints/2.orbax-checkpoint-tmp").exists()


def test_what_a_command_is_writing_in_a_run_below_stays(run: Path) -> None:
    (run / ".12.config.json").write_text("{")
    (run / "checkpoints/2.orbax-checkpoint-tmp").mkdir()
    before = sorted(run.rglob("*"))
    with RunFolder(run.parent).lock():
        assert sorted(run.rglob("*")) == before

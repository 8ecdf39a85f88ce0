"""Behaviour that commands share, in real processes: compilation cache, one-line errors, cores."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from i3ad_jax import command_line
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.disk import whole
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf
from tests.support.progress_lines import without_progress

COMPILE = """
import sys
from i3ad_jax import command_line
import jax
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
sys.argv = ["command"]
command_line.run(lambda arguments: print(jax.jit(lambda x: x + 1)(1), len(jax.devices())))
"""


CACHE_VARIABLES = (
    "XDG_CACHE_HOME",
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_ENABLE_COMPILATION_CACHE",
    "JAX_NUM_CPU_DEVICES",
)


def run_process(
    *arguments: object, folder: Path, environment: dict[str, str] | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run Python in `folder` with `folder/home` as its home, free of the user's own choices."""
    (folder / "home").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in CACHE_VARIABLES}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=kept | {"HOME": str(folder / "home")} | (environment or {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize(
    ("environment", "cache", "devices"),
    [
        ({}, "home/.cache/i3ad_jax", os.cpu_count()),
        pytest.param(
            {
                "JAX_COMPILATION_CACHE_DIR": "{folder}/own",
                "XDG_CACHE_HOME": "{folder}/xdg",
                "JAX_NUM_CPU_DEVICES": "3",
            },
            "own",
            3,
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_compilation_cache_is_the_user_s_and_every_core_is_a_device(
    tmp_path: Path, environment: dict[str, str], cache: str, devices: int
) -> None:
    given = {name: value.format(folder=tmp_path) for name, value in environment.items()}
    done = run_process(
        "-c", COMPILE, folder=tmp_path, environment={"JAX_PLATFORMS": "cpu", **given}
    )
    assert done.stdout.split() == ["2", str(devices)]
    assert any((tmp_path / cache).iterdir())
    # Nowhere else: a folder named like the package, in the working directory, would be imported in
    # its place.
    assert {
        file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*") if file.is_file()
    } == {cache.split("/")[0]}
    assert not (tmp_path / "i3ad_jax").exists()


@pytest.mark.parametrize(
    ("environment", "cache"),
    [
        ({}, "home/.cache/i3ad_jax"),
        ({"XDG_CACHE_HOME": ""}, "home/.cache/i3ad_jax"),
        ({"XDG_CACHE_HOME": "{folder}/xdg"}, "xdg/i3ad_jax"),
        ({"JAX_COMPILATION_CACHE_DIR": "", "XDG_CACHE_HOME": ""}, "home/.cache/i3ad_jax"),
        ({"JAX_COMPILATION_CACHE_DIR": "own", "XDG_CACHE_HOME": "{folder}/xdg"}, "as it was"),
    ],
    ids=str,
)
def test_the_cache_follows_the_xdg_specification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], cache: str
) -> None:
    for name in CACHE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "{folder}/home", **environment}.items():
        monkeypatch.setenv(name, value.format(folder=tmp_path))
    monkeypatch.setattr(command_line, "use_every_core", lambda: None)  # JAX has its devices already
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "as it was"))
        command_line.set_up_jax()
        found = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert found == str(tmp_path / cache)


@pytest.mark.parametrize(
    ("encoding", "arguments", "message"),
    [
        ("ascii", "pack data --out out --image-size big", "error: --image-size: no"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (
                    "utf-8",
                    "pack data --out out --image-size big",
                    "error: --image-size: no",
                ),
                (
                    "utf-8",
                    "train --image-size big",
                    "error: --image-size: invalid literal",
                ),
                (
                    "ascii",
                    "train --method pca --no-shrink",
                    "error: --shrink: pca has no such setting; i3ad",
                ),
                (
                    "ascii",
                    "evaluate nowhere",
                    "error: nowhere/config.json: missing; nowhere is not a finished",
                ),
            )
        ),
    ],
)
def test_a_mistake_is_one_line_in_whatever_encoding_and_makes_no_file(
    tmp_path: Path, encoding: str, arguments: str, message: str
) -> None:
    module, *flags = arguments.split()
    environment = {"PYTHONIOENCODING": encoding}
    done = run_process(
        "-m", f"i3ad_jax.{module}", *flags, folder=tmp_path, environment=environment, code=2
    )
    assert done.stdout == ""
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert "---" not in done.stderr
    assert "─" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_one_line_too(tmp_path: Path, pca_run: Path) -> None:
    (tmp_path / "run").mkdir()
    for file in pca_run.rglob("*"):
        if file.is_file():
            copy = tmp_path / "run" / file.relative_to(pca_run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes()[: 50 if "checkpoints" in copy.parts else None])
    done = run_process("-m", "i3ad_jax.evaluate", "run", folder=tmp_path, code=2)
    lines = without_progress(done.stderr.splitlines())
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: run/checkpoints/1: damaged checkpoint")


def test_a_run_without_a_name_is_new_in_the_folder_runs(
    tmp_path: Path,
    flags_of: FlagsOf,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", *flags_of("pca")])
    train.main(flags_of("pca"))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    (run,) = (tmp_path / "runs").iterdir()
    assert str(run.relative_to(tmp_path) / "report.html") in capsys.readouterr().out
    assert json.loads((run / "environment.json").read_text())["command"] == [
        "train",
        *flags_of("pca"),
    ]


@pytest.mark.slow
def test_a_whole_training_from_another_folder_leaves_only_its_run(
    tmp_path: Path, tiny_folder: Path
) -> None:
    flags = ["--method", "pca", "--components", "3", "--image-size", "32", "--data", tiny_folder]
    done = run_process(
        "-m", "i3ad_jax.train", *flags, folder=tmp_path, environment={"XDG_CACHE_HOME": ""}
    )
    assert {path.name for path in tmp_path.iterdir()} == {"home", "runs"}
    (run,) = (tmp_path / "runs").iterdir()
    assert str(run.relative_to(tmp_path) / "report.html") in done.stdout
    command = json.loads((run / "environment.json").read_text())["command"]
    assert command[1:] == [*map(str, flags)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_is_one_line_and_clears_up(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    def write(_: object) -> None:
        with whole(tmp_path / "file") as temporary:
            temporary.touch()
            os.kill(os.getpid(), number)

    monkeypatch.setattr(command_line, "set_up_jax", lambda: None)
    monkeypatch.setattr(sys, "argv", ["command"])
    # in the background it is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as stop:
            command_line.run(write)
    finally:
        signal.signal(signal.SIGINT, before)
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err == "error: interrupted\n"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (MemoryError(), "--batch-size"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), "--batch-size"),
        (OSError(28, "No space left on device", "file"), "file: No space left"),
        (OSError(28, "No space left on device"), "No space left"),
    ],
    ids=str,
)
def test_what_the_machine_lacks_is_one_line(fails: Fails, error: Exception, named: str) -> None:
    def command(_: object) -> None:
        raise error

    assert named in fails(command, [])


def test_an_allocator_that_refuses_is_one_line(fails: Fails) -> None:
    def command(_: object) -> None:
        jnp.zeros((2**22, 2**20)).block_until_ready()

    for _ in range(3):  # of one error JAX makes two types, by whether the program is new
        assert "out of memory; lower --batch-size" in fails(command, [])


def test_a_mistake_of_the_program_keeps_its_traceback(fails: Fails) -> None:
    def command(_: object) -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        fails(command, [])


def test_the_end_of_a_run_has_its_mistakes_first(
    pca_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder(pca_run)
    results = json.loads(folder.results.read_text())
    with folder.scores.open() as file:
        rows = list(csv.DictReader(file))
    selected, thresholds = results["headline"], results["thresholds"]

    def above(kind: str, label: str) -> list[bool]:
        return [float(row[kind]) > thresholds[kind] for row in rows if row["label"] == label]

    command_line.print_results(folder)
    _, headline, missed, alarms, _, header, *table = capsys.readouterr().out.splitlines()
    assert headline.endswith(f"anomalous: {selected} above {thresholds[selected]:.4g}")
    for line, name, count in (
        (missed, "missed", above(selected, "1").count(False)),
        (alarms, "false alarms", above(selected, "0").count(True)),
    ):
        assert re.match(rf"{name} +{count} of 3 \(.* %, 95 % interval .* to .* %\)$", line)
    cells = [line.split() for line in table[: len(results["scores"])]]
    assert cells[0][0] == selected
    assert {name for name, *_ in cells} == {*results["scores"]}
    for name, auroc, *_, misses, false_alarms in cells:
        assert auroc == f"{results['scores'][name]['image_auroc']:.4f}"
        assert int(misses) == above(name, "1").count(False)
        assert int(false_alarms) == above(name, "0").count(True)
    assert {len(line) for line in (header, *table[: len(cells)])} == {len(header)}
    assert len(header) <= 100
    assert f"report:  {folder.report}" in table

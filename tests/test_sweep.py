"""An experiment's runs as tasks of Ray: the results of runs one after the other."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from i3ad_jax.runs.files import read_json

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="pip install -e '.[ray]'")
PLAN = ("--seeds", "0", "1", "--preset", "quick")
METHODS = ("--methods", "l2_ae_projection", "pca", "--steps", "2")


def tables(
    out: Path, *flags: str, data: Sequence[str] = ("textures:weave",)
) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "experiments.tables",
        "--data",
        *data,
        *PLAN,
        "--out",
        str(out),
        *flags,
    ]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdout=pipe, stderr=pipe, text=True
    )


def test_runs_on_ray_are_those_made_here(tmp_path: Path) -> None:
    with tables(tmp_path / "ray", *METHODS, "--engine", "ray") as command:
        out, _ = command.communicate()
        assert (command.returncode, "6 of 6 runs finished" in out) == (0, True)
    with tables(tmp_path / "here", *METHODS) as command:
        command.communicate()
    files = sorted(
        file.relative_to(tmp_path / "here") for file in tmp_path.glob("here/**/results.json")
    )
    assert len(files) == 6
    for file in files:
        assert (
            read_json(tmp_path / "ray" / file)["scores"]
            == read_json(tmp_path / "here" / file)["scores"]
        )
    done = {file: (tmp_path / "ray" / file).stat().st_mtime_ns for file in files}
    with tables(tmp_path / "ray", *METHODS, "--engine", "ray") as command:  # nothing is made again
        assert "6 of 6 runs finished" in command.communicate()[0]
    assert done == {file: (tmp_path / "ray" / file).stat().st_mtime_ns for file in files}


def test_a_run_that_fails_on_ray_is_noted(tmp_path: Path) -> None:
    images = tmp_path / "untested/train/good"
    images.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (64, 64), (number, number, number)).save(images / f"{number}.png")
    data = ("textures:weave", str(tmp_path / "untested"))
    with tables(tmp_path / "out", "--methods", "pca", "--engine", "ray", data=data) as command:
        out, err = command.communicate()
    assert (command.returncode, "2 of 4 runs finished" in out) == (1, True)
    assert "error: untested pca seed 1: --data" in err
    assert "no test images to measure with" in (tmp_path / "out/failures.log").read_text()

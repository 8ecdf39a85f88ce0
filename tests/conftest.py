"""Fixtures that several test files share."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from i3ad_jax import command_line, train

# A folder of real data sets in MVTec layout.
REAL_DATA = Path(os.environ.get("I3AD_DATA", Path(__file__).parents[2] / "shared" / "data"))

Fails = Callable[[Callable[[Sequence[str]], None], Sequence[object]], str]


@pytest.fixture(scope="session", autouse=True)
def quick_compilation(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests compile far more than they compute: compile each program once a session, and lightly."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # by all processes that run tests
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(shared / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Gives the folder of a real data set by its name; skips the test where there is none."""

    def find(name: str) -> Path:
        if not (REAL_DATA / name / "train").is_dir():
            pytest.skip(f"{REAL_DATA / name} does not exist")
        return REAL_DATA / name

    return find


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in MVTec layout: 8 training images, 3 normal and 3 defective test images with masks."""
    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 127, 40)[:, None, None] * np.ones((40, 48, 3))
    for split, count in (("train/good", 8), ("test/good", 3), ("test/spot", 3)):
        folder = root / split
        folder.mkdir(parents=True)
        for number in range(count):
            picture = ramp + rng.uniform(0, 40, ramp.shape)
            mask = np.zeros((40, 48), np.uint8)
            if split == "test/spot":
                mask[10:20, 10 + number : 25] = 255
                picture[mask > 0] = 255
                (root / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(root / f"ground_truth/spot/{number}_mask.png")
            Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def tiny_flags(tiny_folder: Path) -> list[str]:
    """Flags of the smallest training that does everything."""
    text = (
        f"--data {tiny_folder} --image-size 32 --width 2 --dilations 2 --discriminator-width 2"
        " --discriminator-depth 2 --batch-size 3 --iterations 2 --patches 4 --test-batch-size 4 --steps 6"
        " --checkpoint-every 2 --sample-every 3 --u-images 2"
    )
    return text.split()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_flags: list[str]) -> Path:
    """The finished run of that training; tests that change it copy it first."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train.main([*tiny_flags, "--run", str(run)])
    return run


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command as a process would; gives its one line of error (bars aside), exit code 2."""
    monkeypatch.setattr(command_line, "_set_up_jax", lambda: None)

    def run(main: Callable[[Sequence[str]], None], arguments: Sequence[object]) -> str:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            command_line.run(main)
        lines = [line for line in capsys.readouterr().err.splitlines() if "%|" not in line and line.strip()]
        assert stop.value.code == 2, lines
        assert len(lines) == 1, lines
        return lines[0]

    return run

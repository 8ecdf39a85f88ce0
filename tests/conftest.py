"""Fixtures that several test files share."""

import gc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import hypothesis
import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks.networks import build
from i3ad_jax import Detector, command_line
from i3ad_jax.calibration.calibration import Calibration
from i3ad_jax.calibration.standardisation import Statistics
from i3ad_jax.config import default_config
from i3ad_jax.methods.state import fresh_state, state_digest
from i3ad_jax.pack import __main__ as pack
from i3ad_jax.scoring.maps import CALIBRATED, PLAIN, SCORES
from i3ad_jax.settings import flag
from i3ad_jax.train import __main__ as train
from tests.support.cloth import write_cloth
from tests.support.made_up_plan import made_up_plan
from tests.support.power_cut import Disk
from tests.support.progress_lines import without_progress

# A folder of real data sets in MVTec layout.
REAL_DATA = Path(os.environ.get("I3AD_DATA", Path(__file__).parents[2] / "shared" / "data"))

FlagsOf = Callable[[str], list[str]]
RunOf = Callable[[str], Path]
# A folder by its name, and what makes it.
Shared = Callable[[str, Callable[[Path], object]], Path]
# The same examples in every run, however long one takes: a failure is the change's.
hypothesis.settings.register_profile(
    "suite", max_examples=50, derandomize=True, database=None, deadline=None
)
hypothesis.settings.load_profile("suite")

Fails = Callable[[Callable[[Sequence[str]], None], Sequence[object]], str]

# Of the smallest training that does everything, whatever the method.
TINY_SETTINGS = {
    "image_size": 32,
    "view": "whole",
    "resolution": 32,
    "width": 2,
    "dilations": (2,),
    "discriminator_width": 2,
    "discriminator_depth": 2,
    "segmenter_width": 2,
    "segmenter_depth": 2,
    "segmenter_side": 16,
    "segmenter_levels": 2,
    "latent_size": 3,
    "components": 3,
    "batch_size": 3,
    "steps": 6,
    "checkpoint_every": 2,
    "sample_every": 3,
    "iterations": 2,
    "patches": 4,
    "u_images": 2,
    "projection_steps": 3,
    "latent_steps": 3,
    "test_batch_size": 4,
}


def tiny_settings(method: str) -> dict[str, Any]:
    """Those of `TINY_SETTINGS` that a method has."""
    own = default_config(method).flat()
    return {name: value for name, value in TINY_SETTINGS.items() if name in own}


def pytest_configure(config: pytest.Config) -> None:
    """Set the environment that JAX reads at its start.

    Trainings here are so short that they learn little: tests that are about the warning ask for it.
    """
    config.addinivalue_line("filterwarnings", "ignore::i3ad_jax.errors.LearnedLittleWarning")
    if "PYTEST_XDIST_WORKER" not in os.environ:  # they inherit it
        given = os.environ.get("XLA_FLAGS", "")
        # stripped: JAX 0.12 ends a process whose flags are a space
        os.environ["XLA_FLAGS"] = f"{given} {_flags_of_quick_compilation()}".strip()


def _flags_of_quick_compilation() -> str:
    """Return the flags of the older loop emitters, which compile in two thirds of the time.

    Return an empty string where XLA does not know the flag. XLA ends a process that passes an
    unknown flag, so a process of its own tries it.
    """
    flags = "--xla_cpu_use_fusion_emitters=false"
    tried = [sys.executable, "-c", "import jax; jax.jit(lambda: 0)()"]
    known = subprocess.run(tried, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True)
    return flags if known.returncode == 0 else ""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore files of slow tests alone unless slow tests are selected: imports take time too."""
    if collection_path.suffix != ".py" or config.option.markexpr != "not slow":
        return None
    return "\npytestmark = pytest.mark.slow\n" in collection_path.read_text() or None


@pytest.fixture(scope="session", autouse=True)
def quick_compilation(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile each program once a session, and lightly: tests compile more than they compute."""
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(_common_folder(tmp_path_factory) / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(scope="module", autouse=True)
def bounded_programs() -> Iterator[None]:
    """Free compiled programs before XLA crashes at the 65,530 memory maps that Linux allows."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Gives the folder of a real data set by its name; skips the test where there is none."""

    def find(name: str) -> Path:
        if not (REAL_DATA / name / "train").is_dir():
            pytest.skip(f"{REAL_DATA / name} does not exist")
        return REAL_DATA / name

    return find


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Makes a folder once for all processes that run tests; its files must stay as they are."""
    root = _common_folder(tmp_path_factory) / "shared"
    root.mkdir(exist_ok=True)
    used: dict[Path, dict[Path, int]] = {}

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, finished = root / name, root / f"{name}.finished"
        with filelock.FileLock(root / f"{name}.lock"):
            if not finished.exists():
                make(folder)
                finished.touch()
        if folder not in used:
            used[folder] = _times_of_change(folder)
        return folder

    yield get
    for folder, before in used.items():
        assert _times_of_change(folder) == before, (
            f"a test has changed files of {folder}; copy it first"
        )


def _times_of_change(folder: Path) -> dict[Path, int]:
    """Return times by file, without locks, which are opened for writing by whoever takes them."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.stat().st_mtime_ns for path in files}


def _common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new folder of this session, the same in all processes that run tests."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def _make_tiny_folder(root: Path) -> None:
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


@pytest.fixture(scope="session")
def tiny_folder(shared: Shared) -> Path:
    """Dataset in MVTec layout: 8 training images, 3 normal and 3 defective ones with masks."""
    return shared("tiny", _make_tiny_folder)


@pytest.fixture(scope="session")
def cloth(shared: Shared) -> Path:
    """The built-in cloth as files, without any fault; copy it before changing it."""
    return shared("cloth", write_cloth)


@pytest.fixture(scope="session")
def packed(shared: Shared, tiny_folder: Path) -> Path:
    """The packed data of `tiny_folder`, as whole images; copy it before changing it."""
    options = ("--method", "pca", "--view", "whole", "--image-size", "32")
    return shared("packed", lambda out: pack.main([str(tiny_folder), "--out", str(out), *options]))


@pytest.fixture(scope="session")
def flags_of(tiny_folder: Path) -> FlagsOf:
    """Gives the flags of a method's smallest training that does everything."""

    def words(value: object) -> list[str]:
        return [*map(str, value)] if isinstance(value, tuple) else [str(value)]

    def flags(method: str) -> list[str]:
        values = {"method": method, "data": tiny_folder, **tiny_settings(method)}
        return [word for name, value in values.items() for word in (flag(name), *words(value))]

    return flags


@pytest.fixture(scope="session")
def tiny_flags(flags_of: FlagsOf) -> list[str]:
    """Flags of I3AD's smallest training that does everything."""
    return flags_of("i3ad")


@pytest.fixture(scope="session")
def run_of(shared: Shared, flags_of: FlagsOf) -> RunOf:
    """Give the finished run of a method's smallest training; copy it before changing it."""

    def find(method: str) -> Path:
        return shared(
            f"run_{method}", lambda run: train.main([*flags_of(method), "--run", str(run)])
        )

    return find


@pytest.fixture(scope="session")
def tiny_run(run_of: RunOf) -> Path:
    """The finished run of I3AD's smallest training."""
    return run_of("i3ad")


@pytest.fixture(scope="session")
def pca_run(run_of: RunOf) -> Path:
    """A finished run of pca, which trains in a second: for what does not depend on the method."""
    return run_of("pca")


@pytest.fixture(scope="session")
def untrained_run(shared: Shared) -> Path:
    """A run of I3AD as it would be without any training, which takes most of the time."""
    return shared("untrained", make_untrained_run)


def make_untrained_run(run: Path, **settings: Any) -> None:
    """Save a run of I3AD as it would be without any training, with settings of its own."""
    config = default_config("i3ad").with_settings({**tiny_settings("i3ad"), **settings})
    plan, method = made_up_plan(config), build(config)
    names, size = method.score_names, plan.preprocessing.size
    flat = Statistics(np.zeros(size, np.float32), np.ones(size, np.float32))
    calibrated = {score.name: flat for score in CALIBRATED if score.name in names}
    state = fresh_state(jax.random.key(0), method)
    calibration = Calibration(
        step=6,
        weights=state_digest(state),
        learned={},
        problem=None,
        tuned={"u": 0.3, "u_reason": "given by --u"},
        standardise={},
        pooling=dict.fromkeys(names, "mean"),
        fusion=None,
        headline="ssim",
        planted_auroc={},
        statistics=calibrated,
        held_out_scores={name: np.array([0.5 if SCORES[name] in PLAIN else 1.0]) for name in names},
        held_out_peaks={name: np.array([2.0]) for name in names},
    )
    Detector(plan, state, calibration).save(run)


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Closes a path to everybody. The root user, who may read all, is another user meanwhile."""
    mode, nobody = path.stat().st_mode, 65534
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        for folder in path.parents:
            if folder.stat().st_mode & 0o777 == 0o700:
                folder.chmod(0o755)
        os.seteuid(nobody)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(mode)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A record of everything below `tmp_path` that is synced in the test."""
    return Disk(tmp_path, monkeypatch)


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Counts of JAX's traces, lowerings and compilations so far in the test."""
    events: list[str] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:  # noqa: ARG001 (JAX names it)
        if event.startswith("/jax/core/compile/"):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command as a process would; gives its one line of error (bars aside), exit code 2."""
    monkeypatch.setattr(command_line, "set_up_jax", lambda: None)

    def run(main: Callable[[Sequence[str]], None], arguments: Sequence[object]) -> str:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            command_line.run(main)
        lines = without_progress(capsys.readouterr().err.splitlines())
        assert stop.value.code == 2, lines
        assert len(lines) == 1, lines
        return lines[0]

    return run

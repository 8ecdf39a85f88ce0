"""GPUs that JAX does not use: faked files of a driver, plug-ins that fail, shared memory."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import jax
import pytest
from jaxlib import xla_client

from i3ad_jax.check import __main__ as check
from i3ad_jax.devices import __main__ as devices
from i3ad_jax.errors import InputError, UnusedGpuWarning
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.export import __main__ as export
from i3ad_jax.export import load_exported
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runtime import accelerator
from i3ad_jax.runtime.accelerator import share_gpu, unused_gpu
from i3ad_jax.serve import __main__ as serve
from i3ad_jax.train import __main__ as train

NEW = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n"
OLD = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
OLDEST = OLD.replace("535.129.03", "470.57.02")
FAILING = """
import os
def initialize():
    try:
        raise OSError("libcupti.so.13: cannot open shared object file")
    except OSError as error:
        share = os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE")
        raise RuntimeError(f"Unable to load cuPTI.\\nIs it installed? {share}") from error
"""
WITHOUT_CARD = """
from jax._src import xla_bridge
def fail():
    raise RuntimeError("INTERNAL: no supported devices found for platform CUDA")
def initialize():
    xla_bridge.register_backend_factory("faked", fail, priority=500, fail_quietly=False)
"""
# The commands read the files of a driver below the folder that the first argument names.
COMMAND = """
import importlib, sys
from pathlib import Path
from i3ad_jax import command_line
from i3ad_jax.runtime import accelerator
root, name, *sys.argv[1:] = sys.argv[1:]
accelerator.ROOT = Path(root)
command_line.run(importlib.import_module(f"i3ad_jax.{name}.__main__").main)
"""


def make_card(root: Path, *, driver: str | None = NEW, card: bool = True) -> None:
    (root / "proc/driver/nvidia").mkdir(parents=True)
    (root / "dev").mkdir()
    if driver is not None:
        (root / "proc/driver/nvidia/version").write_text(driver)
    if card:
        (root / "dev/nvidia0").touch()


def run_with_plugin(
    source: str, root: Path, command: str, *arguments: object, code: int = 0, **variables: str
) -> tuple[str, str]:
    """Run a command with a plug-in of JAX; return what it prints, and its one line of messages."""
    package, about = root / "packages/broken_plugin", root / "packages/broken_plugin-1.dist-info"
    for folder in (package, about, root / "home"):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text(source)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[jax_plugins]\nbroken = broken_plugin\n")
    chosen = (*accelerator.RESERVING, "JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
    kept = {name: value for name, value in os.environ.items() if name not in chosen}
    path = os.pathsep.join([str(root / "packages"), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, root, command, *map(str, arguments)],
        env={**kept, "PYTHONPATH": path, **variables},
        cwd=root / "home",
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return done.stdout, lines[0]


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """JAX computes on the CPU, and nobody has chosen so."""
    if jax.default_backend() != "cpu" or accelerator.plugins():
        pytest.skip("JAX has a plug-in here")
    for name in ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", *accelerator.RESERVING):
        monkeypatch.setenv(name, "")  # restored at the end, whatever a command sets
        monkeypatch.delenv(name)
    chosen = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_platforms", None)
    yield
    jax.config.update("jax_platforms", chosen)


def test_a_failing_plugin_without_driver_is_one_line_with_its_reason(tmp_path: Path) -> None:
    table, line = run_with_plugin(FAILING, tmp_path, "devices")
    assert re.match(r"devices +\d+ x ", table)
    assert line == (
        "warning: computing on the CPU: no NVIDIA driver found (broken_plugin: Unable to load"
        " cuPTI. Is it installed? false); install it, or start the container with --gpus all;"
        " JAX_PLATFORMS=cpu silences this line"
    )


@pytest.mark.slow
def test_a_failing_plugin_beside_a_card_is_one_line_with_the_command(
    tmp_path: Path, pca_run: Path, tiny_folder: Path
) -> None:
    make_card(tmp_path, driver=OLD)
    out = tmp_path / "out"
    images = tiny_folder / "test/good"
    _, line = run_with_plugin(FAILING, tmp_path, "predict", pca_run, images, "--out", out)
    assert "JAX cannot use this machine's NVIDIA GPU (broken_plugin: Unable" in line
    assert "; pip install --upgrade 'jax[cuda12]' (driver 535 is too old for CUDA 13" in line
    assert (out / "predictions.csv").exists()


@pytest.mark.slow
def test_a_plugin_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    make_card(tmp_path)
    _, line = run_with_plugin(WITHOUT_CARD, tmp_path, "devices", code=2)
    assert line == (
        "error: Unable to initialize backend 'faked': INTERNAL: no supported devices found for"
        " platform CUDA; pip install --upgrade 'i3ad_jax[cuda]', or set JAX_PLATFORMS=cpu to"
        " compute on the CPU"
    )


@pytest.mark.slow
def test_devices_that_are_asked_for_have_the_reason_of_their_plugin(tmp_path: Path) -> None:
    _, line = run_with_plugin(FAILING, tmp_path, "devices", code=2, JAX_PLATFORMS="cuda")
    assert line.startswith("error: JAX_PLATFORMS=cuda: JAX has no such devices here (broken_plug")


@pytest.mark.parametrize(
    ("driver", "card", "problem"),
    [
        (NEW, True, "no plug-in for this machine's NVIDIA GPU; pip install .*i3ad_jax.cuda.';"),
        (None, True, "no plug-in .* 'i3ad_jax.cuda.'; JAX_PLATFORMS=cpu"),
        (NEW, False, "no plug-in .* 'i3ad_jax.cuda.'; JAX_PLATFORMS=cpu"),
        (OLD, True, r"no plug-in .* 'jax.cuda12.' \(driver 535 is too old for CUDA 13"),
        (OLDEST, True, "no plug-in .*; update the NVIDIA driver 470 to 580 or newer"),
        (None, False, None),
    ],
    ids=["new", "no version", "no card", "old", "too old", "neither"],
)
@pytest.mark.usefixtures("on_cpu")
def test_what_a_machine_has_decides_the_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    driver: str | None,
    card: bool,
    problem: str | None,
) -> None:
    monkeypatch.setattr(accelerator, "ROOT", tmp_path)
    make_card(tmp_path, driver=driver, card=card)
    line = unused_gpu()
    if problem is None:
        assert line is None
    else:
        assert line is not None
        assert re.search(problem, line)
        assert "\n" not in line
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert unused_gpu() is None


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (check.main, ["missing"]),
        (evaluate.main, ["RUN", "--data", "missing"]),
        (predict.main, ["RUN", "missing.png", "--out", "out"]),
        (serve.main, ["RUN", "--host", "nonsense.invalid"]),
        (train.main, ["--data", "missing"]),
    ],
    ids=lambda value: value.__module__.split(".")[1] if callable(value) else "",
)
@pytest.mark.usefixtures("on_cpu")
def test_every_command_says_that_a_card_is_not_used(
    tmp_path: Path,
    pca_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    main: Callable[[Sequence[str]], None],
    arguments: list[str],
) -> None:
    if main is serve.main:
        monkeypatch.setenv("I3AD_TOKEN", "secret")
        pytest.importorskip("fastapi")
    make_card(tmp_path)
    monkeypatch.setattr(accelerator, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    given = [str(pca_run) if argument == "RUN" else argument for argument in arguments]
    with pytest.warns(UnusedGpuWarning, match="JAX has no plug-in"), pytest.raises(InputError):
        main(given)


@pytest.mark.usefixtures("on_cpu")
def test_an_export_computes_on_the_cpu_unless_the_environment_names_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU rounds to TF32: the program would not give the run's scores."""
    make_card(tmp_path)
    monkeypatch.setattr(accelerator, "ROOT", tmp_path)
    for given, used in (("cuda", None), ("", "cpu")):
        monkeypatch.setenv("JAX_PLATFORMS", given)
        with pytest.raises(InputError):
            export.main([str(tmp_path / "missing"), "--out", str(tmp_path / "out")])
        assert jax.config.jax_platforms == used  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.usefixtures("on_cpu")
def test_devices_warns_and_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_card(tmp_path)
    monkeypatch.setattr(accelerator, "ROOT", tmp_path)
    with pytest.warns(UnusedGpuWarning, match="JAX has no plug-in"):
        devices.main([])
    assert capsys.readouterr().out.startswith("devices ")


@pytest.mark.usefixtures("on_cpu")
def test_a_gpu_is_shared_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share_gpu()
    assert xla_client.generate_pjrt_gpu_plugin_options()["preallocate"] is False
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    share_gpu()
    assert xla_client.generate_pjrt_gpu_plugin_options()["preallocate"] is True
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", "0.5")
    share_gpu()
    options = xla_client.generate_pjrt_gpu_plugin_options()
    assert options["memory_fraction"] == 0.5
    assert "preallocate" not in options


def test_an_exported_program_shares_a_gpu_by_the_same_variables() -> None:
    assert load_exported.RESERVING == accelerator.RESERVING

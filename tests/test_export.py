"""A run as one program: exported, loaded without the package, and compared with the run."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i3ad_jax import Detector
from i3ad_jax.data import decoder
from i3ad_jax.export import __main__ as export
from i3ad_jax.export import load_exported, onnx
from i3ad_jax.export.parity import largest_difference
from i3ad_jax.export.stablehlo import ALLOWED
from i3ad_jax.runs.files import read_json, write_json
from i3ad_jax.runtime.compiler import options_for
from i3ad_jax.scoring.maps import PLAIN, SCORES
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf

# As a user would run the loader, but that the package cannot be imported.
WITHOUT_PACKAGE = """
import os, runpy, sys
sys.modules["i3ad_jax"] = None
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])  # as Python does for a script
runpy.run_path(sys.argv[0], run_name="__main__")
"""
RUNS = ("pca", "tiles", "ssim_ae", "i3ad")


def runs(*quick: str) -> list[Any]:
    """Runs to test, all but some of them in the slow tests."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in RUNS]


@pytest.fixture(scope="module")
def run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    flags_of: FlagsOf,
    run_of: Callable[[str], Path],
) -> Path:
    """A finished run of a method, or of pca by tiles."""
    if request.param != "tiles":
        return run_of(request.param)
    folder = tmp_path_factory.mktemp("runs") / request.param
    tiles = ["--view", "tiles", "--tile", "16", "--resolution", "40", "--levelling", "yes"]
    train.main([*flags_of("pca"), *tiles, "--run", str(folder)])
    return folder


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "out"
    export.main([str(run), "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def pictures(tiny_folder: Path) -> list[Path]:
    return sorted((tiny_folder / "test").rglob("*.png"))


def allowed(name: str) -> float:
    return ALLOWED.plain if SCORES[name] in PLAIN else ALLOWED.calibrated


def load_in_process(folder: Path, pictures: list[Path]) -> list[dict[str, Any]]:
    """Output of the loader in a fresh process, which compiles as this one does."""
    command = [
        sys.executable,
        "-c",
        WITHOUT_PACKAGE,
        str(folder / "load_exported.py"),
        *map(str, pictures),
    ]
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder.parent, env=environment
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("run", runs("pca"), indirect=True)
def test_a_fresh_process_without_the_package_gives_the_program_s_bits(
    exported: Path, pictures: list[Path]
) -> None:
    program, about = load_exported.load(exported)
    size, aspect = about["working_size"], about["aspect"]
    printed = load_in_process(exported, pictures)
    assert [line["path"] for line in printed] == [str(file) for file in pictures]
    here = [program(load_exported.read(file, size=size, aspect=aspect)[None]) for file in pictures]
    assert about["scores"]
    for part in ("scores", "anomalous"):
        for line, found in zip(printed, here, strict=True):
            assert line[part] == {name: found[part][name].item() for name in about["scores"]}


@pytest.mark.parametrize("run", runs("pca"), indirect=True)
def test_the_program_gives_the_run_s_scores_maps_and_verdicts(
    run: Path, exported: Path, pictures: list[Path]
) -> None:
    program, about = load_exported.load(exported)
    size, aspect = about["working_size"], about["aspect"]
    expected = Detector.load(run).score(pictures)
    here = [program(load_exported.read(file, size=size, aspect=aspect)[None]) for file in pictures]
    for name in about["scores"]:
        for found, own in zip(here, expected, strict=True):
            score, small = np.asarray(found["scores"][name]), own.small_maps[name]
            assert largest_difference(score, np.array([own.scores[name]])) <= allowed(name)
            assert found["anomalous"][name].item() == own.anomalous[name]
            # A pixel is not the mean of many.
            difference = largest_difference(
                np.asarray(found["maps"][name][0]).ravel(), small.ravel()
            )
            assert difference <= 20 * allowed(name)
    assert set(about["scores"]) == set(expected[0].scores)


@pytest.mark.parametrize("run", runs("pca"), indirect=True)
@pytest.mark.parametrize("aspect", ["stretch", "pad", "crop"])
def test_the_loader_finds_the_detector_s_regions(
    run: Path, exported: Path, aspect: str, tmp_path: Path
) -> None:
    program, about = load_exported.load(exported)
    detector = Detector.load(run)
    asked = detector.plan.asked
    changed = replace(asked, data=asked.data.with_settings({"aspect": aspect}))
    detector = replace(detector, plan=detector.plan.with_asked(changed)).with_rule(threshold=0.0)
    wide = np.random.default_rng(0).integers(0, 256, (40, 71, 3), np.uint8)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    found = load_exported.judge(program, {**about, "aspect": aspect}, tmp_path / "wide.png")
    (expected,) = detector.score(tmp_path / "wide.png")
    assert len(expected.regions) > 0
    assert len(found["regions"]) == len(expected.regions)
    for region, own in zip(found["regions"], expected.regions, strict=True):
        assert region == pytest.approx(asdict(own), rel=1e-3)
    assert found["score"] == pytest.approx(expected.score, rel=1e-3)


@pytest.mark.parametrize("run", runs("pca"), indirect=True)
def test_an_image_has_the_same_scores_alone_and_among_others(
    exported: Path, pictures: list[Path]
) -> None:
    program, about = load_exported.load(exported)
    images = np.stack(
        [
            load_exported.read(file, size=about["working_size"], aspect="stretch")
            for file in pictures
        ]
    )
    together = program(images)["scores"]
    for number in (0, len(images) - 1):
        alone = program(images[number : number + 1])["scores"]
        for name, scores in together.items():
            # Calibrated scores magnify rounding: they are divided by what normal images vary by.
            limit = 1e-6 if SCORES[name] in PLAIN else 1e-4
            assert (
                largest_difference(np.asarray(alone[name]), np.asarray(scores)[[number]]) <= limit
            )


@pytest.mark.parametrize("run", ["pca"], indirect=True)
def test_the_folder_says_what_the_program_is(run: Path, exported: Path) -> None:
    assert {file.name for file in exported.iterdir()} == {
        *("program.stablehlo", "export.json", "card.md", "SHA256SUMS"),
        *("load_exported.py", "i3ad_decoder.py"),
    }
    about = json.loads((exported / "export.json").read_text())
    detector = Detector.load(run)
    assert about["thresholds"] == detector.calibration.thresholds
    assert about["headline"] == detector.calibration.headline
    assert about["weights_sha256"] == detector.calibration.weights
    program = about["program"]
    assert (
        program["sha256"] == hashlib.sha256((exported / program["file"]).read_bytes()).hexdigest()
    )
    assert program["platforms"] == ["cpu", "cuda"]
    assert program["compiler_options"] == {name: options_for(name) for name in ("cpu", "gpu")}
    written, until = (
        date.fromisoformat(about["exported"]),
        date.fromisoformat(program["readable_until"]),
    )
    assert (until - written).days == 180
    assert about["parity"]["images"] == len(detector.files.held_out)
    for kind, largest in about["parity"]["largest"].items():
        assert 0 < largest <= about["parity"]["allowed"][kind] == getattr(ALLOWED, kind)
    card = (exported / "card.md").read_text()
    for name, own in json.loads((run / "results.json").read_text())["scores"].items():
        assert f"| {name} | {own['image_auroc']:.4f} | {own['pixel_auroc']:.4f} |" in card
    for name, module in (("load_exported.py", load_exported), ("i3ad_decoder.py", decoder)):
        assert (exported / name).read_text() == Path(str(module.__file__)).read_text()


def test_the_command_says_until_when_the_file_can_be_read(
    pca_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export.main([str(pca_run), "--out", str(tmp_path / "out")])
    until = json.loads((tmp_path / "out/export.json").read_text())["program"]["readable_until"]
    assert until in capsys.readouterr().out


def test_a_wrong_input_is_one_line_and_writes_nothing(
    fails: Fails, pca_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    assert "full: holds something" in fails(export.main, [pca_run, "--out", full])
    assert "holds something" in fails(export.main, [pca_run, "--out", full / "notes.txt"])
    assert [file.name for file in full.iterdir()] == ["notes.txt"]
    assert "config.json: missing" in fails(export.main, [tmp_path / "nowhere", "--out", out])
    assert "--format" in fails(export.main, [pca_run, "--out", out, "--format", "tflite"])
    uncalibrated = shutil.copytree(pca_run, tmp_path / "uncalibrated")
    (uncalibrated / "calibration.json").unlink()
    assert "calibration.json: missing" in fails(export.main, [uncalibrated, "--out", out])
    assert "nowhere.png" in fails(
        export.main, [pca_run, "--out", out, "--images", tmp_path / "nowhere.png"]
    )
    assert {path.name for path in tmp_path.iterdir()} == {"full", "uncalibrated"}


def test_changed_held_out_images_are_refused_and_can_be_replaced(
    fails: Fails, pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(tiny_folder, tmp_path / "data")
    run = shutil.copytree(pca_run, tmp_path / "run")
    config = read_json(run / "config.json")
    config["data"]["data"] = str(data)
    write_json(run / "config.json", config)
    held_out = next(iter(json.loads((run / "files.json").read_text())["held_out"]))
    Image.new("RGB", (40, 48)).save(data / held_out)
    out = tmp_path / "out"
    message = fails(export.main, [run, "--out", out])
    assert f"{held_out}: changed since the run was trained" in message
    assert not out.exists()
    export.main([str(run), "--out", str(out), "--images", str(data / "test")])
    assert json.loads((out / "export.json").read_text())["parity"]["images"] == 6


def onnx_runtime(file: Path) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    """The program in an ONNX file as a function, by onnxruntime."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install -e '.[onnx]'")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(outputs, session.run(None, {"images": images}), strict=True))


def openvino(file: Path) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    """The same by OpenVINO."""
    core = pytest.importorskip("openvino", reason="pip install openvino").Core()
    return core.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # OpenVINO starts a process
@pytest.mark.skipif(find_spec("jax2onnx") is None, reason="pip install -e '.[onnx]'")
@pytest.mark.parametrize(
    ("program_of", "run"),
    # OpenVINO 2026.4 does not take the loop over tiles.
    [(onnx_runtime, run) for run in RUNS] + [(openvino, run) for run in RUNS if run != "tiles"],
    indirect=["run"],
)
def test_onnx_gives_the_run_s_scores_maps_and_verdicts(
    run: Path, program_of: Callable[[Path], Any], pictures: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export.main([str(run), "--out", str(out), "--format", "onnx"])
    assert {file.name for file in out.iterdir()} == {
        "model.onnx",
        "export.json",
        "card.md",
        "SHA256SUMS",
    }
    about, program = json.loads((out / "export.json").read_text()), program_of(out / "model.onnx")
    for file, own in zip(pictures, Detector.load(run).score(pictures), strict=True):
        pixels = load_exported.read(file, size=about["working_size"], aspect=about["aspect"])
        found = program(pixels[None])
        for name, score in own.scores.items():
            limit = onnx.ALLOWED.plain if SCORES[name] in PLAIN else onnx.ALLOWED.calibrated
            assert largest_difference(found[f"scores.{name}"], np.array([score])) <= limit
            assert found[f"anomalous.{name}"].item() == own.anomalous[name]
            small = own.small_maps[name].ravel()
            assert largest_difference(found[f"maps.{name}"].ravel(), small) <= 20 * limit


def test_onnx_says_what_to_install_where_it_is_missing(
    fails: Fails, pca_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = fails(export.main, [pca_run, "--out", tmp_path / "out", "--format", "onnx"])
    assert "--format onnx" in message
    assert "pip install 'i3ad_jax[onnx]'" in message
    assert not (tmp_path / "out").exists()

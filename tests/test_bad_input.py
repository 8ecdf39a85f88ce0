"""Every mistake ends in one line that names the file or the option, and in exit code 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A data set to spoil."""
    return shutil.copytree(tiny_folder, tmp_path / "data")


@pytest.fixture(scope="module")
def flags(flags_of: FlagsOf) -> list[str]:
    """Flags of a training by steps."""
    return flags_of("l2_ae")


@pytest.fixture
def run(run_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A finished run of it to spoil."""
    return shutil.copytree(run_of("l2_ae"), tmp_path / "run")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--method", "magic"], "--method magic"),
        (["--preset", "huge"], "--preset huge"),
        (["--data", "tfds:mvtec_ad/spoon"], "spoon"),
        (["--data", "tfds:mnist"], "tfds:mnist"),
        (["--data", "textures:silk"], "silk"),
        (["--data", "nowhere"], f"--data {Path.cwd() / 'nowhere'}"),
        (["--image-size", "100"], "--image-size 100"),
        (["--image-size", "16"], "--image-size 16"),
        (["--image-size", "big"], "--image-size"),
        (["--steps", "0"], "--steps 0"),
        (["--iterations", "-1"], "--iterations -1"),
        (["--patches", "1"], "--patches 1"),
        (["--u", "3"], "--u 3"),
        (["--held-out", "1.5"], "--held-out 1.5"),
        (["--learning-rate", "1"], "--learning-rate"),
        (["--aspect", "bend"], "--aspect"),
        (["--discount", "0"], "--discount 0"),
        (["--adam-beta1", "1"], "--adam-beta1 1"),
        (["--pooling", "top_2"], "--pooling"),
        (["--planted-images", "0"], "--planted-images 0"),
        (["--view", "half"], "--view"),
        (["--segmenter-depth", "7"], "--segmenter-depth 7"),
        (["--standardise", "twice"], "--standardise"),
        (["--resume"], "--run"),
        (["--resume", "--run", "nowhere"], "nowhere"),
    ],
)
def test_bad_option(fails: Fails, tmp_path: Path, flags: list[str], named: str) -> None:
    run = [] if "--resume" in flags else ["--run", tmp_path / "run"]
    assert named in fails(train.main, [*flags, *run])
    assert not (tmp_path / "run").exists()


def spoil_corrupt(root: Path) -> str:
    (root / "train/good/3.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(200)))
    return "train/good/3.png"


def spoil_truncated(root: Path) -> str:
    file = root / "test/spot/1.png"
    file.write_bytes(file.read_bytes()[:-200])
    return "test/spot/1.png"


def spoil_empty_file(root: Path) -> str:
    (root / "test/good/0.png").write_bytes(b"")
    return "test/good/0.png"


def spoil_large(root: Path) -> str:
    Image.new("1", (10_001, 10_000)).save(root / "test/good/0.png")
    return "test/good/0.png"


def spoil_mask_size(root: Path) -> str:
    Image.fromarray(np.full((40, 47), 255, np.uint8)).save(root / "ground_truth/spot/1_mask.png")
    return "ground_truth/spot/1_mask.png"


def spoil_mask_without_image(root: Path) -> str:
    shutil.copy(root / "ground_truth/spot/1_mask.png", root / "ground_truth/spot/7_mask.png")
    return "ground_truth/spot/7_mask.png"


def spoil_no_train(root: Path) -> str:
    shutil.rmtree(root / "train")
    return "train/good"


def spoil_empty_train(root: Path) -> str:
    shutil.rmtree(root / "train/good")
    (root / "train/good").mkdir()
    return "train/good"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_corrupt,
        spoil_truncated,
        spoil_empty_file,
        spoil_large,
        spoil_mask_size,
        spoil_mask_without_image,
        spoil_no_train,
        spoil_empty_train,
    ],
)
def test_bad_data(
    fails: Fails, folder: Path, tmp_path: Path, flags: list[str], spoil: Callable[[Path], str]
) -> None:
    named = spoil(folder)
    assert named in fails(train.main, [*flags, "--data", folder, "--run", tmp_path / "run"])
    assert not (tmp_path / "run/results.json").exists()


def test_existing_run_is_not_overwritten(fails: Fails, run: Path, flags: list[str]) -> None:
    before = (run / "results.json").read_bytes()
    assert "--resume" in fails(train.main, [*flags, "--run", run])
    assert (run / "results.json").read_bytes() == before


def test_folder_that_cannot_be_written(fails: Fails, tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot be written" in fails(train.main, [*flags, "--run", tmp_path / "file/run"])


def test_resume_with_other_settings(fails: Fails, run: Path) -> None:
    assert "--seed 5" in fails(train.main, ["--run", run, "--resume", "--seed", "5"])
    assert "--preset paper" in fails(train.main, ["--run", run, "--resume", "--preset", "paper"])


@pytest.mark.parametrize("main", [evaluate.main, predict.main])
def test_run_without_checkpoint(fails: Fails, run: Path, tiny_folder: Path, main: Callable) -> None:
    shutil.rmtree(run / "checkpoints")
    extra = [tiny_folder / "test", "--out", run / "out"] if main is predict.main else []
    assert "checkpoints" in fails(main, [run, *extra])


@pytest.mark.parametrize("damage", ["truncate", "delete", "pickle"])
def test_damaged_checkpoint(fails: Fails, run: Path, damage: str) -> None:
    newest = run / "checkpoints/6"
    for file in [
        file for file in newest.rglob("*") if file.is_file() and file.stat().st_size > 100
    ]:
        if damage == "truncate":
            file.write_bytes(file.read_bytes()[:50])
        elif damage == "delete":
            file.unlink()
        else:
            file.write_bytes(b"\x80\x04\x95\x0b\x00\x00\x00")
    before = (run / "results.json").read_bytes()
    assert "checkpoints/6" in fails(evaluate.main, [run])
    assert "checkpoints/6" in fails(train.main, ["--run", run, "--resume"])
    assert (run / "results.json").read_bytes() == before


def test_damaged_settings(fails: Fails, run: Path) -> None:
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**settings, "surprise": 1}))
    assert "config.json" in fails(evaluate.main, [run])
    (run / "config.json").write_text("{")
    assert "config.json" in fails(evaluate.main, [run])


def test_no_run_folder(fails: Fails, tmp_path: Path) -> None:
    assert "config.json" in fails(evaluate.main, [tmp_path])
    assert "run" in fails(evaluate.main, []).lower()


def test_predict_names_what_it_cannot_read(fails: Fails, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "nowhere.png" in fails(predict.main, [run, tmp_path / "nowhere.png", "--out", out])
    (tmp_path / "text.png").write_text("no image")
    assert "text.png" in fails(predict.main, [run, tmp_path / "text.png", "--out", out, "--strict"])
    (tmp_path / "empty").mkdir()
    assert "empty" in fails(predict.main, [run, tmp_path / "empty", "--out", out])
    assert not (out / "predictions.csv").exists()

"""`python -m i3ad_jax.calibrate`: a run recalibrated on new normal images."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.calibrate import __main__ as calibrate
from i3ad_jax.data.dataset import content_hash
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.evaluate.tested_run import load_as
from i3ad_jax.export.__main__ import export
from i3ad_jax.runs.calibration_file import calibration_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.rates import Rate
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails


@pytest.fixture
def darker(tiny_folder: Path, tmp_path: Path) -> Path:
    """Normal test images under less light, and a file that is not an image."""
    folder = tmp_path / "darker"
    folder.mkdir()
    for file in sorted(tiny_folder.glob("test/good/*.png")):
        pixels = np.asarray(Image.open(file)) * 0.6
        Image.fromarray(pixels.astype(np.uint8)).save(folder / file.name)
    (folder / "notes.txt").write_text("new lamp")
    return folder


@pytest.fixture
def recalibrated(pca_run: Path, darker: Path, tmp_path: Path) -> Path:
    """The run of pca, recalibrated on the darker images."""
    calibrate.main([str(pca_run), str(darker), "--out", str(tmp_path / "new")])
    return tmp_path / "new"


def test_the_run_has_the_calibration_of_the_new_images(
    recalibrated: Path, pca_run: Path, darker: Path
) -> None:
    found, old = Detector.load(recalibrated), Detector.load(pca_run)
    expected = old.recalibrated(sorted(darker.glob("*.png")))
    assert calibration_json(found.calibration) == calibration_json(expected.calibration)
    assert found.calibration.weights == old.calibration.weights
    assert {image.verdict for image in old.score(darker)} == {"unusable"}
    assert "unusable" not in {image.verdict for image in found.score(darker)}


def test_the_thresholds_are_printed_with_the_images_that_exceed_them(
    pca_run: Path, darker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate.main([str(pca_run), str(darker), "--out", str(tmp_path / "new")])
    printed = capsys.readouterr()
    old, new = Detector.load(pca_run), Detector.load(tmp_path / "new")
    first, second, words, folder = printed.out.splitlines()[-4:]
    for line, name, detector in ((first, "old", old), (second, "new", new)):
        above = sum(image.score > detector.rule.threshold for image in detector.score(darker))
        assert line == (
            f"{name} threshold: combined {detector.rule.threshold:.4g}, exceeded by"
            f" {Rate.of(above, 3)}"
        )
    assert re.search(r"the true rate of false alarms is [\d.]+ to [\d.]+ % \(95 %", words)
    assert folder == str(tmp_path / "new")
    assert printed.err.endswith("ignored: 1 .txt file\n")


def test_the_list_of_files_names_the_new_images(
    recalibrated: Path, pca_run: Path, darker: Path
) -> None:
    files, old = RunFolder(recalibrated).read_files(), RunFolder(pca_run).read_files()
    pictures = sorted(darker.glob("*.png"))
    assert files.recalibrated == {str(x): content_hash(x.read_bytes()) for x in pictures}
    assert (files.trained, files.held_out) == (old.trained, old.held_out)
    assert not old.recalibrated
    *_, described = Detector.load(recalibrated).plan.describe()
    assert described == "6 images train pca, 3 other images calibrate"


def test_a_test_with_other_settings_calibrates_on_the_new_images(
    recalibrated: Path, pca_run: Path, darker: Path, tmp_path: Path
) -> None:
    evaluate.main([str(recalibrated), "--pooling", "peak", "--out", str(tmp_path / "peak")])
    found = Detector.load(tmp_path / "peak")
    expected = Detector.load(pca_run).recalibrated(darker, pooling="peak")
    assert calibration_json(found.calibration) == calibration_json(expected.calibration)
    assert found.files.recalibrated == RunFolder(recalibrated).read_files().recalibrated


def test_images_that_have_changed_since_are_refused(recalibrated: Path, darker: Path) -> None:
    run = RunFolder(recalibrated)
    asked = run.read_config().with_settings({"pooling": "peak"})
    Image.new("L", (48, 40)).save(darker / "1.png")
    with pytest.raises(InputError, match=r"1\.png: changed since the run was recalibrated"):
        load_as(run, asked)
    (darker / "1.png").unlink()
    with pytest.raises(InputError, match=r"1\.png: "):
        load_as(run, asked)


def test_images_given_in_python_are_not_taken_for_others(
    pca_run: Path, darker: Path, tmp_path: Path
) -> None:
    pixels = [np.asarray(Image.open(file)) for file in sorted(darker.glob("*.png"))]
    Detector.load(pca_run).recalibrated(pixels).save(tmp_path / "new")
    run = RunFolder(tmp_path / "new")
    assert [*run.read_files().recalibrated] == ["0", "1", "2"]
    with pytest.raises(InputError, match="recalibrated on images given in Python"):
        load_as(run, run.read_config().with_settings({"pooling": "peak"}))


def test_an_export_is_compared_on_the_new_images(recalibrated: Path, tmp_path: Path) -> None:
    export(RunFolder(recalibrated), out=tmp_path / "program")
    about = json.loads((tmp_path / "program/export.json").read_text())
    assert (about["num_held_out"], about["parity"]["images"]) == (3, 3)


def test_a_recalibrated_run_is_not_resumed(recalibrated: Path, fails: Fails) -> None:
    message = fails(train.main, ["--run", str(recalibrated), "--resume"])
    assert f"--run {recalibrated}: was recalibrated on other images; resume the run" in message


def test_an_image_of_the_training_is_refused(
    pca_run: Path, tiny_folder: Path, darker: Path, tmp_path: Path, fails: Fails
) -> None:
    path = tiny_folder / next(iter(RunFolder(pca_run).read_files().trained))
    copied = shutil.copy(path, darker / "copy.png")
    message = fails(calibrate.main, [str(pca_run), str(darker), "--out", str(tmp_path / "new")])
    assert f"{copied}: the run was trained on this image; leave it out" in message
    assert not (tmp_path / "new").exists()


def test_an_image_that_is_given_twice_is_refused(
    pca_run: Path, darker: Path, tmp_path: Path, fails: Fails
) -> None:
    twice = [str(darker), str(darker / "1.png")]
    message = fails(calibrate.main, [str(pca_run), *twice, "--out", str(tmp_path / "new")])
    assert f"{darker / '1.png'}: given 2 times; give each image once" in message


def test_a_run_is_never_overwritten(
    recalibrated: Path, pca_run: Path, darker: Path, fails: Fails
) -> None:
    before = (recalibrated / "calibration.json").read_bytes()
    for out in (recalibrated, pca_run):
        message = fails(calibrate.main, [str(recalibrated), str(darker), "--out", str(out)])
        assert f"--out {out}: holds a run; name another folder" in message
    assert (recalibrated / "calibration.json").read_bytes() == before


def test_a_mistyped_run_folder_gets_the_nearest_run(
    pca_run: Path, darker: Path, tmp_path: Path, fails: Fails
) -> None:
    shutil.copytree(pca_run, tmp_path / "runs/my_part")
    line = [str(tmp_path / "runs/my_prat"), str(darker), "--out", str(tmp_path / "new")]
    assert fails(calibrate.main, line).endswith("did you mean my_part?")


def test_a_recalibration_can_be_recalibrated(
    recalibrated: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "again")
    calibrate.main([str(recalibrated), str(tiny_folder / "test/good"), "--out", out])
    files = RunFolder(tmp_path / "again").read_files()
    assert {Path(path).parent for path in files.recalibrated} == {tiny_folder / "test/good"}


def test_damaged_records_of_a_recalibration_are_refused() -> None:
    part = {"0.png": "0" * 64}
    values = {"trained": {"1.png": "1" * 64}, "held_out": {"2.png": "2" * 64}, "recalibrated": part}
    assert TrainingFiles.from_json(values).calibration_set == part
    with pytest.raises(InputError, match="recalibrated must be a JSON object with at least one"):
        TrainingFiles.from_json({**values, "recalibrated": {}})


@pytest.mark.slow
def test_the_program_recalibrates(pca_run: Path, darker: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-m", "i3ad_jax", "calibrate"]
    line = [*program, str(pca_run), str(darker), "--out", str(tmp_path / "new")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(tmp_path / "new")

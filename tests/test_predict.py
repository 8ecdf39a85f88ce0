"""Scoring pictures without labels."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from i3ad_jax.detector import Detector
from i3ad_jax.pictures import PANEL_SIDE
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.predict import results as prediction_files
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf


def read(file: Path) -> list[dict[str, str]]:
    with file.open() as table:
        return list(csv.DictReader(table))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_predictions_equal_the_run_s_own_scores(
    tiny_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    predict.main([str(tiny_run), str(tiny_folder / "test"), "--out", str(tmp_path)])
    found = read(tmp_path / "predictions.csv")
    own = {str(tiny_folder / row["path"]): row for row in read(tiny_run / "scores.csv")}
    assert [row["path"] for row in found] == list(own)
    calibration = json.loads((tiny_run / "calibration.json").read_text())
    headline = calibration["headline"]
    threshold = calibration["thresholds"][headline]
    for row in found:
        for kind in ("l2", "ssim", "ssim_calibrated"):
            assert float(row[kind]) == pytest.approx(float(own[row["path"]][kind]), abs=1e-6)
        assert int(row["anomalous"]) == int(float(row[headline]) > threshold)


def test_maps_have_the_size_of_the_image_and_pictures_three_panels(
    tiny_run: Path, tmp_path: Path
) -> None:
    height, width = 57, 31
    grey = np.random.default_rng(0).integers(0, 2**16, (height, width), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.tif")
    (tmp_path / "other").mkdir()
    Image.new("RGBA", (width, height)).save(tmp_path / "other/grey.png")
    out = tmp_path / "out"
    images = (str(tmp_path / "grey.tif"), str(tmp_path / "other"))
    save = ("--save", "maps", "pictures", "--unusable", "ignore")
    predict.main([str(tiny_run), *images, "--out", str(out), *save])
    for name in ("grey", "other/grey"):
        anomaly_map = np.load(out / "maps" / f"{name}.npy", allow_pickle=False)
        assert anomaly_map.shape == (height, width)
        assert anomaly_map.dtype == np.float32
        with Image.open(out / "pictures" / f"{name}.jpg") as picture:
            assert picture.width > 3 * PANEL_SIDE[0]


def test_normal_images_suffice_to_train_and_predict(
    tiny_folder: Path, flags_of: FlagsOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_folder / "train", tmp_path / "data/train")
    run = tmp_path / "run"
    train.main([*flags_of("pca"), "--data", str(tmp_path / "data"), "--run", str(run)])
    assert "No test images" in capsys.readouterr().out
    assert not (run / "results.json").exists()
    predict.main([str(run), str(tiny_folder / "test/spot/0.png"), "--out", str(tmp_path / "out")])
    assert len(read(tmp_path / "out/predictions.csv")) == 1


def read_png_map(file: Path) -> np.ndarray:
    with Image.open(file) as opened:
        low, high = float(opened.info["minimum"]), float(opened.info["maximum"])
        return low + np.asarray(opened).astype(np.float64) / 65535 * (high - low)


def test_every_format_of_maps_holds_the_same_map(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    image = tiny_folder / "test/spot/0.png"
    expected = Detector.load(pca_run).score(image)[0].anomaly_map(score="ssim")
    for map_format in ("npy", "npz", "png"):
        options = ["--score", "ssim", "--save", "maps", "--map-format", map_format]
        out = tmp_path / map_format
        predict.main([str(pca_run), str(image), "--out", str(out), *options])
        assert not (out / "pictures").exists()
    np.testing.assert_array_equal(np.load(tmp_path / "npy/maps/0.npy"), expected)
    np.testing.assert_array_equal(np.load(tmp_path / "npz/maps/0.npz")["anomaly_map"], expected)
    step = (expected.max() - expected.min()) / 65535
    np.testing.assert_allclose(
        read_png_map(tmp_path / "png/maps/0.png"), expected, rtol=0, atol=0.51 * step
    )


def test_a_broken_image_has_a_row_and_costs_no_other(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images"
    shutil.copytree(tiny_folder / "test", images)
    alone = tmp_path / "alone"
    predict.main([str(pca_run), str(images), "--out", str(alone)])
    (images / "good/0a.png").write_bytes((images / "good/0.png").read_bytes()[:-40])
    (images / "spot/z.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as stop:
        predict.main([str(pca_run), str(images), "--out", str(tmp_path / "out")])
    assert stop.value.code == 3
    assert "2 images could not be used" in capsys.readouterr().err
    found = read(tmp_path / "out/predictions.csv")
    broken = {Path(row["path"]).name: row for row in found if row["error"]}
    assert set(broken) == {"0a.png", "z.jpg"}
    for name, row in broken.items():
        assert name in row["error"]
        assert row["anomalous"] == row["ssim"] == ""
    others = [row for row in found if not row["error"]]
    for row, expected in zip(others, read(alone / "predictions.csv"), strict=True):
        assert row.keys() == expected.keys()
        assert row["path"] == expected["path"]
        assert float(row["combined"]) == pytest.approx(float(expected["combined"]), rel=1e-5)


def test_strict_stops_at_a_broken_image(
    fails: Fails, pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    images = [tiny_folder / "test", tmp_path / "a.png"]
    message = fails(predict.main, [pca_run, *images, "--out", tmp_path / "out", "--strict"])
    assert "a.png: not a PNG" in message
    assert not (tmp_path / "out/predictions.csv").exists()


@pytest.mark.parametrize("engine", ["stream", "blocks"])
def test_a_picture_taken_otherwise_is_neither_normal_nor_anomalous(
    pca_run: Path,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    engine: str,
) -> None:
    if engine == "blocks":
        pytest.importorskip("pyarrow", reason="pip install -e '.[parquet]'")
    images, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(tiny_folder / "test", images)
    Image.new("RGB", (48, 40), "white").save(images / "lamp.png")
    arguments = [str(pca_run), str(images), "--engine", engine, "--out"]
    with pytest.raises(SystemExit, match="4"):
        predict.main([*arguments, str(out)])
    printed = capsys.readouterr()
    assert re.search(r"\d of 7 images are anomalous, 1 unusable", printed.out)
    assert "1 pictures are taken unlike the normal images" in printed.err
    about = json.loads((out / "predictions.json").read_text())
    assert (about["scored"], about["unusable"], about["broken"]) == (7, 1, 0)
    border = np.asarray(Image.open(out / "pictures/lamp.jpg"), int)[0].mean(axis=0)
    np.testing.assert_allclose(border, (0, 114, 178), atol=20)
    if engine == "stream":
        (row,) = (row for row in read(out / "predictions.csv") if row["unusable"])
        assert Path(row["path"]).name == "lamp.png"
        assert row["unusable"].startswith("too bright: ")
        assert row["anomalous"] == row["error"] == ""
        assert float(row["combined"]) > about["threshold"]
    predict.main([*arguments, str(tmp_path / "ignored"), "--unusable", "ignore"])
    ignored = json.loads((tmp_path / "ignored/predictions.json").read_text())
    assert (ignored["anomalous"], ignored["unusable"]) == (about["anomalous"] + 1, 0)
    (images / "broken.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match="3"):
        predict.main([*arguments, str(tmp_path / "broken")])


@pytest.mark.parametrize(
    "options", [["--quantile", "0.5"], ["--false-alarms", "0.5"], ["--threshold", "0.02"]]
)
def test_thresholds_come_from_held_out_scores_or_from_the_user(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, options: list[str]
) -> None:
    predict.main(
        [str(pca_run), str(tiny_folder / "test"), "--out", str(tmp_path), "--score", "l2", *options]
    )
    normal = np.array(
        json.loads((pca_run / "calibration.json").read_text())["held_out_scores"]["l2"]
    )
    threshold = 0.02 if options[0] == "--threshold" else np.quantile(normal, 0.5)
    for row in read(tmp_path / "predictions.csv"):
        assert int(row["anomalous"]) == int(float(row["l2"]) > threshold)
    about = json.loads((tmp_path / "predictions.json").read_text())
    above, count = (normal > threshold).sum(), len(normal)
    assert about["threshold"] == threshold
    assert about["false_alarms"]["rate"] == above / count
    low, high = binomtest(above, count).proportion_ci(0.95, method="exact")
    assert about["false_alarms"]["low"] == pytest.approx(low)
    assert about["false_alarms"]["high"] == pytest.approx(high)


KILLED = """
import os, pathlib, signal, sys
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.predict import results as prediction_files

left = int(sys.argv.pop(1))
add = prediction_files.GrowingTable.add

def add_and_die(table, row):
    global left
    left -= 1
    add(table, row)
    if left == 0:
        out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
        with (out / "predictions.partial.csv").open("a") as file:
            file.write("half a ro")
        os.kill(os.getpid(), signal.SIGKILL)

prediction_files.GrowingTable.add = add_and_die
predict.main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("moments", [(4,), (1, 2, 3, 6, 7)])
def test_a_killed_prediction_resumes_to_the_same_bytes(
    flags_of: FlagsOf, tiny_folder: Path, tmp_path: Path, fails: Fails, moments: tuple[int, ...]
) -> None:
    run, images, out = tmp_path / "run", tmp_path / "images", tmp_path / "out"
    train.main([*flags_of("pca"), "--queue-size", "2", "--run", str(run)])
    shutil.copytree(tiny_folder / "test", images)
    (images / "good/0a.png").write_bytes(b"no picture")
    arguments = [str(run), str(images), "--out", str(out), "--save", "pictures"]
    with pytest.raises(SystemExit, match="3"):
        predict.main(arguments)
    expected = (out / "predictions.csv").read_bytes()
    pictures = contents(out / "pictures")
    assert len(pictures) == 6
    compiled_alike = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as conftest.py has it
    for left in moments:
        shutil.rmtree(out)
        command = [sys.executable, "-c", KILLED, str(left), *arguments]
        done = subprocess.run(command, check=False, env=compiled_alike)
        assert done.returncode == -signal.SIGKILL
        assert not (out / "predictions.csv").exists()
        with pytest.raises(SystemExit, match="3"):
            predict.main([*arguments, "--resume"])
        assert (out / "predictions.csv").read_bytes() == expected
        assert contents(out / "pictures") == pictures
        assert [file.name for file in out.glob("*.partial*")] == []
    written = (out / "predictions.csv").stat().st_mtime_ns
    with pytest.raises(SystemExit, match="3"):
        predict.main([*arguments, "--resume"])
    assert (out / "predictions.csv").stat().st_mtime_ns == written
    (out / "predictions.csv").rename(out / "predictions.partial.csv")
    assert "other options" in fails(predict.main, [*arguments, "--resume", "--quantile", "0.5"])
    Image.new("RGB", (40, 40)).save(images / "good/0a.png")
    assert "other images" in fails(predict.main, [*arguments, "--resume"])


@pytest.mark.parametrize("place", [0, 1])
def test_a_prediction_that_ends_as_it_begins_resumes(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    def arguments(out: str) -> list[str]:
        words = (pca_run, tiny_folder / "test", "--out", tmp_path / out, "--save", "scores")
        return [str(word) for word in words]

    writes = iter(range(9))

    def interrupted(write: Callable[..., None]) -> Callable[..., None]:
        def write_or_end(*values: object) -> None:
            if next(writes) == place:
                raise KeyboardInterrupt
            write(*values)

        return write_or_end

    with monkeypatch.context() as patch:
        for name in ("write_text", "write_json"):
            patch.setattr(prediction_files, name, interrupted(getattr(prediction_files, name)))
        with pytest.raises(KeyboardInterrupt):
            predict.main(arguments("out"))
    predict.main([*arguments("out"), "--resume"])
    predict.main(arguments("whole"))
    tables = [tmp_path / out / "predictions.csv" for out in ("out", "whole")]
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_files_of_two_predictions_are_never_mixed(
    fails: Fails, pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(tiny_folder / "test/good", images / "good")
    out.mkdir()
    (out / "notes.txt").write_text("of the user")
    arguments = [pca_run, images, "--out", out, "--save", "maps"]
    predict.main([str(word) for word in arguments])
    before = contents(out)
    others = [
        [pca_run, tiny_folder / "test", *arguments[2:]],
        [pca_run, images / "good", *arguments[2:]],  # the same images by other names
        [*arguments[:-1], "pictures"],
        [*arguments, "--map-format", "npz"],
        [*arguments, "--quantile", "0.5"],
        [*arguments, "--engine", "blocks"],
    ]
    for other in others:
        for resume in ([], ["--resume"]):
            if "--engine" not in other or resume:
                message = fails(predict.main, [*other, *resume])
                assert f"--out {out}: holds predictions.json" in message
                assert "name another --out" in message
    assert "--resume" in fails(predict.main, arguments)
    assert contents(out) == before
    predict.main([*map(str, arguments), "--resume"])
    assert contents(out) == before


@pytest.mark.parametrize("name", ["maps/a.npy", "pictures/sub/a.jpg", "predictions/part.parquet"])
def test_files_where_those_of_a_prediction_go_are_refused(
    fails: Fails, pca_run: Path, tiny_folder: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    arguments = [pca_run, tiny_folder / "test/good", "--out", tmp_path]
    for resume in ([], ["--resume"]):
        message = fails(predict.main, [*arguments, *resume])
        assert f"--out {tmp_path}: holds {name.partition('/')[0]}/" in message
    assert {*contents(tmp_path)} == {name, ".lock"}


def test_results_mirror_the_folders_and_the_table_names_them(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    picture = Image.open(tiny_folder / "test/good/0.png")
    for name in ("cam1/001.png", "cam2/001.png", "cam2/001.bmp", "cam3/001-2.png"):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(images / name)
    (images / "cam1/002.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match="3"):
        predict.main([str(pca_run), str(images), "--out", str(out), "--save", "maps", "pictures"])
    rows = {
        Path(row["path"]).relative_to(images).as_posix(): row
        for row in read(out / "predictions.csv")
    }
    named = {path: (row["map"], row["picture"]) for path, row in rows.items()}
    assert named == {
        "cam1/001.png": ("maps/cam1/001.npy", "pictures/cam1/001.jpg"),
        "cam1/002.png": ("", ""),
        "cam2/001.bmp": ("maps/cam2/001.bmp.npy", "pictures/cam2/001.bmp.jpg"),
        "cam2/001.png": ("maps/cam2/001.png.npy", "pictures/cam2/001.png.jpg"),
        "cam3/001-2.png": ("maps/cam3/001-2.npy", "pictures/cam3/001-2.jpg"),
    }
    written = {name for name in contents(out) if name.startswith(("maps/", "pictures/"))}
    assert written == {name for names in named.values() for name in names if name}


def test_a_second_prediction_in_the_folder_is_refused(
    fails: Fails, pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    arguments = [str(pca_run), str(tiny_folder / "test"), "--out", str(tmp_path)]
    with RunFolder(tmp_path).lock():
        for engine in ("stream", "blocks"):
            assert f"{tmp_path}: another command" in fails(
                predict.main, [*arguments, "--engine", engine]
            )


def test_a_prediction_by_a_method_with_lists_among_its_settings_resumes(
    tiny_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    arguments = [
        str(tiny_run),
        str(tiny_folder / "test"),
        "--out",
        str(tmp_path),
        "--save",
        "scores",
    ]
    predict.main(arguments)
    table = (tmp_path / "predictions.csv").read_bytes()
    (tmp_path / "predictions.csv").rename(tmp_path / "predictions.partial.csv")
    predict.main([*arguments, "--resume"])
    assert (tmp_path / "predictions.csv").read_bytes() == table


def test_on_another_kind_of_device_the_scores_in_doubt_are_named(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, pictures = tmp_path / "run", str(tiny_folder / "test/good")
    shutil.copytree(pca_run, run)

    def said(out: str) -> str:
        predict.main([str(run), pictures, "--out", str(tmp_path / out), "--save", "scores"])
        return capsys.readouterr().err

    assert "calibrated on" not in said("same")
    environment = json.loads((run / "environment.json").read_text())
    environment["devices"] = ["NVIDIA H200"]
    (run / "environment.json").write_text(json.dumps(environment))
    rule = Detector.load(run).rule
    found = re.search(
        r"calibrated on NVIDIA H200, scored on cpu: .* by 2 %, .* (\S+) is from (\S+) to (\S+)",
        said("other"),
    )
    assert found
    assert found[1] == rule.score
    assert float(found[2]) == pytest.approx(rule.threshold - 0.02 * abs(rule.threshold), rel=1e-3)
    assert float(found[3]) == pytest.approx(rule.threshold + 0.02 * abs(rule.threshold), rel=1e-3)
    assert read(tmp_path / "other/predictions.csv") == read(tmp_path / "same/predictions.csv")

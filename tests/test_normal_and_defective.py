"""The layout of a folder of normal images beside one of defective images."""

import hashlib
import shutil
from pathlib import Path

import pytest

from i3ad_jax import Detector
from i3ad_jax.data.dataset import Dataset
from i3ad_jax.data.layouts import LAYOUTS, find_layout
from i3ad_jax.data.load import DataSettings
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.errors import InputError
from i3ad_jax.runs.files import read_json
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf, tiny_settings
from tests.support.layout_trees import HEIGHT, WIDTH, box, folders, write_image, write_mask
from tests.support.loading import assert_refused, load

SIZE = (HEIGHT, WIDTH)


def write(root: Path, *paths: str) -> None:
    for path in paths:
        write_image(root / path)


def named(root: Path | str, **options: str) -> Dataset:
    settings = DataSettings(str(root), reading=ReadingSettings(**options))  # pyright: ignore
    return settings.load(size=SIZE)


def classes(data: Dataset) -> dict[str, str]:
    found = dict(zip(data.test.paths, data.test.defects, strict=True))
    return {path: defect for path, defect in found.items() if defect != "good"}


@pytest.mark.parametrize("normal", ["good", "Normal", "OK", "0"])
@pytest.mark.parametrize("anomalous", ["bad", "Defect", "abnormal", "NG", "1", "anomalies"])
def test_folders_of_the_usual_names_are_found(tmp_path: Path, normal: str, anomalous: str) -> None:
    write(tmp_path, f"{normal}/1.png", f"{normal}/2.png", f"{anomalous}/3.png")
    assert find_layout(tmp_path) is LAYOUTS["folders"]
    data = load(tmp_path)
    assert (len(data.train), sorted(data.test.labels)) == (1, [0, 1])
    assert set(classes(data).values()) == {anomalous}


def test_a_fifth_of_the_normal_images_is_tested_on_by_the_hash_of_its_path(tmp_path: Path) -> None:
    paths = [f"good/{i}.png" for i in range(23)]
    write(tmp_path, *paths, "bad/1.png")
    ranked = sorted(paths, key=lambda path: hashlib.sha256(path.encode()).hexdigest())
    data = load(tmp_path)
    assert set(data.train.paths) == set(ranked[4:])
    assert set(data.test.paths) == {*ranked[:4], "bad/1.png"}


def test_images_that_are_added_hardly_move_others(tmp_path: Path) -> None:
    write(tmp_path, *(f"good/{i}.png" for i in range(40)), "bad/1.png")
    before = load(tmp_path)
    write(tmp_path, *(f"good/new{i}.png" for i in range(5)), "bad/2.png")
    after = load(tmp_path)
    new = {f"good/new{i}.png" for i in range(5)}
    moved = {*before.train.paths} ^ ({*after.train.paths} - new)
    assert len(moved) <= len(new)


def test_a_moved_data_set_keeps_its_split(tmp_path: Path) -> None:
    folders(tmp_path / "here")
    first = load(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    second = load(tmp_path / "there")
    assert (first.train.paths, first.digest) == (second.train.paths, second.digest)


def test_without_defective_images_all_normal_ones_are_trained_on(tmp_path: Path) -> None:
    write(tmp_path, *(f"good/{i}.png" for i in range(10)), "other/1.png")
    data = named(tmp_path, normal="good")
    assert (len(data.train), len(data.test)) == (10, 0)


@pytest.mark.parametrize("place", ["masks", "bad/mask", "Ground_Truth", "masks/bad"])
@pytest.mark.parametrize("name", ["1.png", "1_mask.bmp"])
def test_masks_are_found_by_stem(tmp_path: Path, place: str, name: str) -> None:
    write(tmp_path, "good/1.png", "good/2.png", "bad/1.png", "bad/2.png")
    write_mask(tmp_path / place / name, box(3))
    data = load(tmp_path)
    assert classes(data) == {"bad/1.png": "bad", "bad/2.png": "bad"}
    assert data.test.annotated[[*data.test.paths].index("bad/1.png")]
    assert data.test.masks[[*data.test.paths].index("bad/1.png")].any()
    assert not data.test.annotated[[*data.test.paths].index("bad/2.png")]


def test_masks_of_classes_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    write(tmp_path, "ok/1.png", "ok/2.png", "ng/dent/1.png", "ng/hole/1.png")
    write_mask(tmp_path / "mask/dent/1.png", box(0))
    write_mask(tmp_path / "mask/hole/1.png", box(8))
    test = load(tmp_path).test
    masks = dict(zip(test.paths, test.masks, strict=True))
    assert (masks["ng/dent/1.png"] == (box(0) > 0)).all()
    assert (masks["ng/hole/1.png"] == (box(8) > 0)).all()


def test_masks_without_an_image_or_of_two_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "ok/1.png", "ok/2.png", "ng/dent/1.png", "ng/hole/1.png")
    write_mask(tmp_path / "mask/1.png", box(0))
    assert_refused(tmp_path, "mask/1.png: could belong to 1.png and 1.png")
    (tmp_path / "mask/1.png").rename(tmp_path / "mask/9.png")
    assert_refused(tmp_path, "mask/9.png: no image of that name")


def test_options_name_folders(tmp_path: Path) -> None:
    write(tmp_path, "gut/1.png", "gut/2.png", "schlecht/riss/1.png", "schlecht/0.png")
    write_mask(tmp_path / "flecken/1.png", box(0))
    data = named(tmp_path, normal="gut", anomalous="schlecht", masks="flecken")
    assert classes(data) == {"schlecht/0.png": "schlecht", "schlecht/riss/1.png": "riss"}
    assert data.test.masks[:].any(axis=(1, 2)).sum() == 1
    assert named(tmp_path, normal="gut").train.paths == ("gut/1.png", "gut/2.png")


def test_all_other_folders_can_be_classes_of_defects(tmp_path: Path) -> None:
    write(tmp_path, "good/1.png", "good/2.png", "dent/1.png", "hole/2.png")
    data = named(tmp_path, normal="good", anomalous=".")
    assert classes(data) == {"dent/1.png": "dent", "hole/2.png": "hole"}


def test_folders_that_options_name_may_have_any_names(tmp_path: Path) -> None:
    write(tmp_path, "1/1.png", "1/2.png", "0/3.png")
    data = named(tmp_path, normal="1", anomalous="0")
    assert set(classes(data)) == {"0/3.png"}
    assert "1/" in data.train.paths[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"normal": "gut"}, "--normal gut: no such folder in"),
        ({"normal": "good", "anomalous": "x"}, "--anomalous x: no such folder in"),
        ({"normal": "good", "masks": "inverted"}, "give --mask-values inverted"),
        ({"masks": "soft"}, "--masks soft: .*give --mask-values soft"),
        ({"anomalous": "bad"}, "--anomalous bad: needs --normal"),
        ({"normal": "good", "layout": "mvtec"}, "--normal good: --layout mvtec"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    tmp_path: Path, options: dict[str, str], words: str
) -> None:
    folders(tmp_path)
    (tmp_path / "Good").rename(tmp_path / "good")
    with pytest.raises(InputError, match=words):
        named(tmp_path, **options)


def test_folders_mean_the_same_in_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a/gut/1.png", "a/gut/2.png", "a/schlecht/3.png", "b/schlecht/3.png")
    reading = ReadingSettings(normal="gut", anomalous="../b/schlecht")
    monkeypatch.chdir(tmp_path / "a")
    found = DataSettings(reading=reading).absolute()
    assert (found.data, found.reading.normal) == (str(tmp_path), "a/gut")
    assert found.reading.anomalous == "b/schlecht"
    below = DataSettings(".", reading=reading).absolute()
    assert (below.data, below.reading) == (str(tmp_path / "a"), reading)
    here = found.load(size=SIZE).digest
    monkeypatch.chdir("/")
    assert found.load(size=SIZE).digest == here
    for settings in (found, below):
        assert settings.absolute() == settings
        assert len(settings.load(size=SIZE).test) == 2
    reading = ReadingSettings(normal=str(tmp_path / "a/gut"))
    assert DataSettings(str(tmp_path), reading=reading).absolute().reading.normal == "a/gut"


def test_a_run_keeps_the_folders_that_it_was_given(
    tmp_path: Path, tiny_folder: Path, flags_of: FlagsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_folder / "train/good", tmp_path / "gut")
    shutil.copytree(tiny_folder / "test/spot", tmp_path / "schlecht")
    shutil.copytree(tiny_folder / "ground_truth/spot", tmp_path / "flecken")
    flags = flags_of("pca")
    at = flags.index("--data")
    options = ["--normal", "gut", "--anomalous", "schlecht", "--masks", "flecken"]
    monkeypatch.chdir(tmp_path)
    train.main([*flags[:at], *flags[at + 2 :], *options, "--run", "run"])
    settings = read_json(tmp_path / "run/config.json")["data"]
    assert settings["data"] == str(tmp_path)
    assert settings["reading"]["normal"] == "gut"
    results = read_json(tmp_path / "run/results.json")
    assert (results["num_test_normal"], results["num_test_anomalous"]) == (1, 3)
    assert results["num_test_without_mask"] == 0
    monkeypatch.chdir("/")
    train.main(["--run", str(tmp_path / "run"), "--resume"])
    assert read_json(tmp_path / "run/results.json")["data_digest"] == results["data_digest"]


def test_a_missing_folder_is_one_line(fails: Fails, tmp_path: Path) -> None:
    write(tmp_path, "a/1.png")
    assert "--normal x: no such folder" in fails(
        train.main, ["--data", tmp_path, "--normal", "x", "--run", tmp_path / "run"]
    )


def test_python_takes_the_same_folders_and_logs_what_is_not_used(
    tmp_path: Path, tiny_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(tiny_folder / "train/good", tmp_path / "gut")
    shutil.copytree(tiny_folder / "test/spot", tmp_path / "schlecht")
    (tmp_path / "notes.txt").write_text("x")
    with caplog.at_level("INFO", "i3ad_jax"):
        detector = Detector.fit(
            tmp_path, method="pca", normal="gut", anomalous="schlecht", **tiny_settings("pca")
        )
    assert "not used: 1 .txt file" in [record.getMessage() for record in caplog.records]
    assert len(detector.files.trained) + len(detector.files.held_out) == 7
    assert sorted(detector.evaluate(tmp_path).defects) == ["good", *["schlecht"] * 3]

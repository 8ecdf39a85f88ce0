"""Values of `--data`, and the settings of the data."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.load import DataSettings, absolute_source, load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.settings import SettingError


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True)
    Image.new("RGB", (20, 10), (1, 2, 3)).save(path)


def test_textures_without_a_kind_are_the_weave():
    weave = load_dataset("textures", size=(32, 32), aspect="stretch")
    named = load_dataset("textures:weave", size=(32, 32), aspect="stretch")
    mesh = load_dataset("textures:mesh", size=(32, 32), aspect="stretch")
    np.testing.assert_array_equal(weave.train.images, named.train.images)
    assert not np.array_equal(weave.train.images[:], mesh.train.images[:])


def test_a_path_is_read_as_a_folder(tmp_path):
    write_image(tmp_path / "train/good/a.png")
    data = load_dataset(str(tmp_path), size=(8, 8), aspect="pad")
    assert data.train.paths == ("train/good/a.png",)
    assert (data.train.images[:] == (1, 2, 3)).all()


@pytest.mark.parametrize(
    "data",
    [
        "no/such/folder",
        "texture:weave",
        "",
        "textures:velvet",
        "tfds:mnist",
        "tfds:",
        "tfds:mvtec_ad",
    ],
)
def test_what_does_not_exist_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_dataset(data, size=(32, 32), aspect="stretch")
    message = str(caught.value)
    assert message.startswith(f"--data {data}")
    assert "\n" not in message


def test_a_folder_of_the_name_of_built_in_textures_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "textures/train/good/a.png")
    with pytest.raises(InputError, match=r"--data textures: .*give \./textures"):
        load_dataset("textures", size=(32, 32), aspect="stretch")
    assert len(load_dataset("./textures", size=(32, 32), aspect="stretch").train) == 1


def test_a_missing_folder_is_answered_with_the_accepted_forms():
    with pytest.raises(InputError, match=r"MVTec layout, textures:KIND or tfds:mvtec_ad/CATEGORY"):
        load_dataset("no/such/folder", size=(32, 32), aspect="stretch")


@pytest.mark.parametrize("package", ["tensorflow_datasets", "array_record", "importlib_resources"])
def test_a_missing_package_is_answered_with_the_way_to_install_it(monkeypatch, package):
    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "i3ad_jax.data.mvtec_ad", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as caught:
        load_dataset("tfds:mvtec_ad/bottle", size=(32, 32), aspect="stretch")
    message = str(caught.value)
    assert message.startswith("--data tfds:mvtec_ad/bottle: ")
    assert package in message.partition("run pip install")[0]
    assert package.replace("_", "-") in message.partition("run pip install")[2].replace("_", "-")
    assert "\n" not in message


def test_an_absolute_source_is_the_same_folder_from_every_working_directory(tmp_path, monkeypatch):
    write_image(tmp_path / "here/bottle/train/good/a.png")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    sources = [absolute_source(data) for data in ("bottle", "./bottle/", "../here/bottle")]
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert sources == [str(tmp_path / "here/bottle")] * 3
    assert load_dataset(sources[0], size=(8, 8), aspect="pad").train.paths == ("train/good/a.png",)
    assert absolute_source(sources[0]) == sources[0]


def test_an_absolute_source_keeps_symbolic_links(tmp_path, monkeypatch):
    (tmp_path / "original").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "original")
    monkeypatch.chdir(tmp_path)
    assert absolute_source("link") == os.path.join(tmp_path, "link")  # noqa: PTH118


@pytest.mark.parametrize("data", ["textures", "textures:mesh", "tfds:mvtec_ad/bottle"])
def test_a_source_that_is_no_folder_stays_as_it_is(data):
    assert absolute_source(data) == data


def test_an_empty_source_is_refused_and_not_taken_for_the_working_directory():
    with pytest.raises(InputError, match=r'^--data "": .*MVTec layout'):
        absolute_source("")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("held_out", value) for value in (0.0, 1.0, -0.1, 1.5, float("nan"), "a")],
        *[("image_size", value) for value in (7, 0, -8, 64.0)],
        ("aspect", "squash"),
        ("data", None),
    ],
)
def test_settings_outside_their_bounds_are_refused_by_their_flag(name, value):
    with pytest.raises(SettingError, match=f"^--{name.replace('_', '-')} ") as caught:
        DataSettings(**{name: value})
    assert "\n" not in str(caught.value)


def test_settings_survive_json():
    settings = DataSettings(data="folder", image_size=8, aspect="crop", held_out=0.5)
    assert DataSettings.from_json(settings.to_json()) == settings

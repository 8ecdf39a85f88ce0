"""`python -m i3ad_jax.pack`: sizes that it packs, and settings that it refuses."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.config import default_config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Size
from i3ad_jax.data.load import load_dataset
from i3ad_jax.data.packed import read_packed
from i3ad_jax.pack import __main__ as pack
from i3ad_jax.plan import resolve
from i3ad_jax.runs.files import read_json
from i3ad_jax.settings import flag
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails
from tests.support.loading import assert_same_split

FEW = 7  # bytes of memory for images: none fits


def test_both_sizes_are_packed_where_tiles_are_chosen(tmp_path: Path) -> None:
    data, out = tmp_path / "noise", tmp_path / "packed"
    (data / "train/good").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 96, 3), np.uint8)  # no two are alike
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(data / f"train/good/{number}.png")
    pack.main([str(data), "--out", str(out), "--image-size", "32"])
    sizes = [tuple(size) for size in read_json(out / "packed.json")["sizes"]]
    assert sizes == [(32, 32), (64, 96)]
    for size in sizes:
        expected = load_dataset(str(data), size=size, aspect="stretch")
        assert_same_split(
            read_packed(out, size=size, aspect="stretch", memory=FEW).train, expected.train
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "quick"},
        {"segmenter_width": 0},
        {"tile": 48, "segmenter_levels": 1},
        {"segmenter_depth": 3, "segmenter_side": 40, "segmenter_levels": 2},
    ],
    ids=str,
)
def test_training_finds_its_sizes_in_data_packed_with_its_options(
    options: dict[str, Any], tmp_path: Path
) -> None:
    data, out = tmp_path / "noise", tmp_path / "packed"
    (data / "train/good").mkdir(parents=True)
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (4, 100, 90, 3))):
        Image.fromarray(pixels.astype(np.uint8)).save(data / f"train/good/{number}.png")
    flags = [text for name, value in options.items() for text in (flag(name), str(value))]
    pack.main([str(data), "--out", str(out), *flags])
    preset, settings = options.get("preset", "standard"), dict(options)
    settings.pop("preset", None)
    config = default_config("i3ad", preset=preset).with_settings(settings)
    asked = list[Size]()

    def read(data: Path, size: Size) -> Split:
        asked.append(size)
        return config.with_settings({"data": str(data)}).data.load(size=size).train

    from_files, from_packed = (resolve(config, partial(read, own)) for own in (data, out))
    assert from_packed.plan.to_json() == from_files.plan.to_json()
    np.testing.assert_array_equal(from_packed.images.images[:], from_files.images.images[:])
    # nothing is packed that no training reads
    assert {tuple(size) for size in read_json(out / "packed.json")["sizes"]} == set(asked)


def test_packing_refuses_a_setting_that_the_method_does_not_have(
    tiny_folder: Path, fails: Fails, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--method", "pca", "--segmenter-side", "64"]
    message = fails(pack.main, [tiny_folder, "--out", out, *options])
    assert "--segmenter-side 64: pca has no such setting; i3ad has it" in message
    assert not out.exists()


def test_wrong_settings_are_refused_in_one_line(packed: Path, fails: Fails, tmp_path: Path) -> None:
    data = ["--method", "pca", "--data", packed, "--run", tmp_path / "run"]
    assert "was packed at 32x32, but 64x64 is needed" in fails(
        train.main, [*data, "--view", "whole"]
    )
    assert "was packed with --aspect stretch" in fails(train.main, [*data, "--aspect", "pad"])
    assert "leave --layout out" in fails(train.main, [*data, "--layout", "mvtec"])
    assert "--image-memory -1: give GiB" in fails(train.main, [*data, "--image-memory", "-1"])
    assert "--image-memory nan: give GiB" in fails(train.main, [*data, "--image-memory", "nan"])
    assert "holds packed data already" in fails(pack.main, [packed, "--out", packed])
    assert not (tmp_path / "run").exists()

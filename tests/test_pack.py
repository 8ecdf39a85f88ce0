"""`python -m i3ad_jax.pack`: sizes that it packs, and settings that it refuses."""

from pathlib import Path

import numpy as np
from PIL import Image

from i3ad_jax.data.load import load_dataset
from i3ad_jax.data.packed import read_packed
from i3ad_jax.pack import __main__ as pack
from i3ad_jax.runs.files import read_json
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

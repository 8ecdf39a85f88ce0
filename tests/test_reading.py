"""Settings of how files are read, at work on a data set."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.load import DataSettings
from i3ad_jax.data.packed import PackWriter
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.errors import DoubtfulImageWarning, InputError, LeftOutWarning
from tests.conftest import Fails

RNG = np.random.default_rng(0)
SIZE = (16, 16)


def save(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def images(folder: Path, count: int, bits: int = 8) -> None:
    kind = np.uint8 if bits == 8 else np.uint16
    for i in range(count):
        save(folder / f"{i:03}.png", RNG.integers(0, 2**bits, SIZE).astype(kind))


def settings(root: Path, **reading: object) -> DataSettings:
    return DataSettings(str(root), reading=ReadingSettings(**reading))  # pyright: ignore


def test_test_folders_of_the_usual_names_and_of_the_user_are_normal(tmp_path: Path) -> None:
    for name in ("train/good", "test/OK", "test/Normal", "test/gut", "test/crack"):
        images(tmp_path / name, 2)
    test = settings(tmp_path, normal_class=("gut",)).load(size=SIZE).test
    assert set(test.defects) == {"good", "crack"}
    assert test.labels.sum() == 2
    assert settings(tmp_path).load(size=SIZE).test.labels.sum() == 4


def test_mask_values_override_those_of_the_layout(tmp_path: Path) -> None:
    images(tmp_path / "train/good", 2)
    images(tmp_path / "test/crack", 1)
    defect = np.zeros(SIZE, bool)
    defect[3:6, 4:9] = True
    save(tmp_path / "ground_truth/crack/000_mask.png", np.where(defect, 0, 255).astype(np.uint8))
    (mask,) = settings(tmp_path, mask_values="inverted").load(size=SIZE).test.masks
    np.testing.assert_array_equal(mask, defect)
    (mask,) = settings(tmp_path).load(size=SIZE).test.masks
    np.testing.assert_array_equal(mask, ~defect)


def test_12_bits_in_files_of_16_are_scaled_from_12_and_warned_of(tmp_path: Path) -> None:
    images(tmp_path, 4, bits=12)
    values = np.asarray(Image.open(tmp_path / "000.png")).astype(np.float64)
    with pytest.warns(DoubtfulImageWarning, match=r"000\.png: .*give --bit-depth 12"):
        dark = settings(tmp_path).load(size=SIZE).train.images[:]
    assert dark.max() <= 16
    train = settings(tmp_path, bit_depth=12).load(size=SIZE).train.images[:]
    np.testing.assert_array_equal(train[0, ..., 0], np.round(values * 255 / 4095))
    with pytest.raises(InputError, match=r"need 12 bits; give --bit-depth 12 or more"):
        _ = settings(tmp_path, bit_depth=10).load(size=SIZE).train


def test_images_that_use_their_range_are_not_warned_of(tmp_path: Path) -> None:
    images(tmp_path, 3, bits=16)
    assert len(settings(tmp_path).load(size=SIZE).train) == 3


def test_images_deeper_than_the_layout_has_them_are_named(tmp_path: Path) -> None:
    images(tmp_path / "train/good", 2)
    images(tmp_path / "train/good/day1", 3)
    images(tmp_path / "train/bad", 1)
    (tmp_path / "readme.txt").write_text("x")
    with pytest.warns(LeftOutWarning, match=r"3 images left out.*train/good/day1 \(3\)"):
        data = settings(tmp_path).load(size=SIZE)
    assert data.notes == (
        "not used: 1 image in train/bad, 3 images in train/good/day1, 1 .txt file",
    )
    assert len(data.train) == 2


def test_packed_data_keep_their_bit_depth(tmp_path: Path) -> None:
    images(tmp_path / "data", 2, bits=12)
    source = settings(tmp_path / "data", bit_depth=12)
    writer = PackWriter(tmp_path / "packed")
    writer.add(source.load(size=SIZE))
    writer.finish("data", aspect="stretch", bit_depth=12)
    packed = settings(tmp_path / "packed", bit_depth=12).load(size=SIZE)
    np.testing.assert_array_equal(packed.train.images[:], source.load(size=SIZE).train.images)
    with pytest.raises(InputError, match=r"--bit-depth 16: .* was packed with --bit-depth 12"):
        settings(tmp_path / "packed").load(size=SIZE)


@pytest.mark.parametrize("option", [{"mask_values": "soft"}, {"normal_class": ("a",)}])
def test_options_of_files_are_refused_where_there_are_none(option: dict[str, object]) -> None:
    (name,) = option
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} .* not a folder or file"):
        DataSettings("textures", reading=ReadingSettings(**option)).load(size=SIZE)  # pyright: ignore


def test_an_unknown_layout_is_refused(fails: Fails) -> None:
    from i3ad_jax.train import __main__ as train

    assert "--layout mvtek: must be one of" in fails(train.main, ["--layout", "mvtek"])

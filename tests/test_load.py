"""What `--data` accepts, and the held-out part."""

import sys

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.dataset import Split
from i3ad_jax.data.load import hold_out, load_dataset
from i3ad_jax.errors import InputError


def numbered(count: int) -> Split:
    """Images that hold their own number."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 2, 3))
    return Split(
        images=images,
        paths=tuple(f"{i}.png" for i in range(count)),
        defects=("good",) * count,
        masks=np.zeros((count, 2, 2), bool),
        annotated=np.ones(count, bool),
    )


def numbers(split: Split) -> list[int]:
    return split.images[:, 0, 0, 0].tolist()


def test_textures_are_made():
    weave = load_dataset("textures", image_size=32, aspect="stretch")
    named = load_dataset("textures:weave", image_size=32, aspect="stretch")
    mesh = load_dataset("textures:mesh", image_size=32, aspect="stretch")
    np.testing.assert_array_equal(weave.train.images, named.train.images)
    assert not np.array_equal(weave.train.images, mesh.train.images)


def test_a_path_is_read_as_a_folder(tmp_path):
    (tmp_path / "train/good").mkdir(parents=True)
    Image.new("RGB", (20, 10), (1, 2, 3)).save(tmp_path / "train/good/a.png")
    data = load_dataset(str(tmp_path), image_size=8, aspect="pad")
    assert data.train.paths == ("train/good/a.png",)
    assert (data.train.images == (1, 2, 3)).all()


@pytest.mark.parametrize(
    "data", ["no/such/folder", "texture:weave", "", "textures:velvet", "tfds:mnist", "tfds:", "tfds:mvtec_ad"]
)
def test_what_does_not_exist_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        load_dataset(data, image_size=32, aspect="stretch")
    message = str(caught.value)
    assert message.startswith(f"--data {data}")
    assert "\n" not in message


def test_a_missing_folder_is_answered_with_the_accepted_forms():
    with pytest.raises(InputError, match=r"MVTec layout, textures:KIND or tfds:mvtec_ad/CATEGORY"):
        load_dataset("no/such/folder", image_size=32, aspect="stretch")


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    monkeypatch.delitem(sys.modules, "i3ad_jax.data.mvtec_ad", raising=False)
    with pytest.raises(InputError, match="pip install tensorflow-datasets"):
        load_dataset("tfds:mvtec_ad/bottle", image_size=32, aspect="stretch")


@pytest.mark.parametrize("count", [2, 3, 10, 101])
@pytest.mark.parametrize("fraction", [0.001, 0.2, 0.5, 0.999])
def test_the_parts_are_disjoint_complete_ordered_and_never_empty(count, fraction):
    rest, held = hold_out(numbered(count), fraction=fraction, seed=3)
    assert sorted(numbers(rest) + numbers(held)) == list(range(count))
    for part in (rest, held):
        assert len(part) >= 1
        assert numbers(part) == sorted(numbers(part))
        assert part.paths == tuple(f"{i}.png" for i in numbers(part))
    assert len(held) == np.clip(round(fraction * count), 1, count - 1)


def test_the_seed_decides_which_images_are_held_out():
    first, again, other = (numbers(hold_out(numbered(50), fraction=0.2, seed=s)[1]) for s in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction):
    with pytest.raises(InputError, match="--held-out"):
        hold_out(numbered(5), fraction=fraction, seed=0)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_to_hold_one_out_are_refused(count):
    with pytest.raises(InputError, match="train/good"):
        hold_out(numbered(count), fraction=0.5, seed=0)

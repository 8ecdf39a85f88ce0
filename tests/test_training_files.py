"""The recorded division into images to learn from and held-out ones."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.dataset import Split
from i3ad_jax.data.folder import read_folder
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.errors import InputError

COUNT = 12


def numbered(count: int) -> Split:
    """Images that hold their own number."""
    return Split.of_normal_images(
        np.arange(count, dtype=np.uint8).repeat(12).reshape(count, 2, 2, 3)
    )


def numbers(split: Split) -> list[int]:
    return split.images[:][:, 0, 0, 0].tolist()


def write_image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, value, value)).save(path)


def read(root: Path) -> Split:
    return read_folder(root, size=(8, 8), aspect="stretch", reading=ReadingSettings("mvtec")).train


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of images that hold their own number."""
    for number in range(COUNT):
        write_image(tmp_path / f"train/good/{number:03d}.png", number)
    return tmp_path


@pytest.fixture
def recorded(root: Path) -> TrainingFiles:
    return TrainingFiles.choose(read(root), fraction=0.25, seed=0)


@pytest.fixture
def trained_path(recorded: TrainingFiles) -> str:
    return list(recorded.trained)[4]


@pytest.fixture
def held_out_path(recorded: TrainingFiles) -> str:
    return list(recorded.held_out)[1]


def refusal(action: Callable[[Split], object], split: Split) -> str:
    with pytest.raises(InputError) as caught:
        action(split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("count", [2, 3, 10, 101])
@pytest.mark.parametrize("fraction", [0.001, 0.2, 0.5, 0.999])
def test_the_parts_are_disjoint_complete_ordered_and_never_empty(count, fraction):
    train = numbered(count)
    learned, held_out = TrainingFiles.choose(train, fraction=fraction, seed=3).select(train)
    assert sorted(numbers(learned) + numbers(held_out)) == list(range(count))
    for part in (learned, held_out):
        assert len(part) >= 1
        assert numbers(part) == sorted(numbers(part))
        assert part.paths == tuple(str(number) for number in numbers(part))
    assert len(held_out) == np.clip(round(fraction * count), 1, count - 1)


@pytest.mark.parametrize(("seed", "expected"), [(0, [4, 6]), (1, [4, 8]), (2, [0, 2])])
def test_the_choice_is_that_of_every_earlier_version(seed, expected):
    train = numbered(10)
    assert (
        numbers(TrainingFiles.choose(train, fraction=0.2, seed=seed).select_held_out(train))
        == expected
    )


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction):
    with pytest.raises(InputError, match="--held-out"):
        TrainingFiles.choose(numbered(5), fraction=fraction, seed=0)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_to_hold_one_out_are_refused(count):
    with pytest.raises(InputError, match="train/good"):
        TrainingFiles.choose(numbered(count), fraction=0.5, seed=0)


def test_paths_and_hashes_are_those_of_the_split(root, recorded):
    train = read(root)
    assert {**recorded.trained, **recorded.held_out} == dict(
        zip(train.paths, train.hashes, strict=True)
    )


@pytest.mark.parametrize("name", ["000a.png", "zzz.png", "0.png"])
def test_an_added_image_is_named_and_leaves_the_division_as_it_was(root, recorded, name):
    before = recorded.select(read(root))
    write_image(root / "train/good" / name, 200)
    train = read(root)
    again = TrainingFiles.choose(train, fraction=0.25, seed=0)
    # A new choice is another: why the first one is recorded.
    assert again.held_out != recorded.held_out
    for part, part_before in zip(recorded.select(train), before, strict=True):
        assert part.paths == part_before.paths
        np.testing.assert_array_equal(part.images, part_before.images)
    assert recorded.select_held_out(train).paths == before[1].paths
    (line,) = recorded.changes(train)
    assert line.startswith(f"train/good/{name}: added since the run was trained; ")


def test_without_a_change_there_is_none_to_report(root, recorded):
    assert recorded.changes(read(root)) == []


def test_a_changed_image_is_refused_by_name(root, recorded, trained_path, held_out_path):
    write_image(root / trained_path, 200)
    line = f"{trained_path}: changed since the run was trained; restore it or train a new run"
    assert recorded.changes(read(root)) == [line]
    assert refusal(recorded.select, read(root)) == line
    assert recorded.select_held_out(read(root)).paths == tuple(recorded.held_out)
    write_image(root / held_out_path, 201)
    assert refusal(recorded.select_held_out, read(root)).startswith(f"{held_out_path}: changed ")


def test_a_changed_file_counts_even_if_its_pixels_are_the_same(root, recorded, trained_path):
    before = read(root)
    Image.open(root / trained_path).save(root / trained_path, compress_level=0)
    np.testing.assert_array_equal(read(root).images, before.images)
    assert refusal(recorded.select, read(root)).startswith(f"{trained_path}: changed ")


def test_a_missing_image_is_refused_by_name(root, recorded, trained_path, held_out_path):
    (root / trained_path).unlink()
    line = f"{trained_path}: missing since the run was trained; restore it or train a new run"
    assert recorded.changes(read(root)) == [line]
    assert refusal(recorded.select, read(root)) == line
    assert recorded.select_held_out(read(root)).paths == tuple(recorded.held_out)
    (root / held_out_path).unlink()
    assert refusal(recorded.select_held_out, read(root)).startswith(f"{held_out_path}: missing ")


def test_renamed_image_is_missing_by_its_old_name_and_added_by_its_new_one(
    root, recorded, held_out_path
):
    (root / held_out_path).rename(root / "train/good/a.png")
    lines = recorded.changes(read(root))
    assert [line.split(" ")[:2] for line in lines] == [
        [f"{held_out_path}:", "missing"],
        ["train/good/a.png:", "added"],
    ]
    assert refusal(recorded.select_held_out, read(root)) == lines[0]


def test_two_images_that_swap_their_names_have_both_changed(
    root, recorded, trained_path, held_out_path
):
    contents = [(root / path).read_bytes() for path in (trained_path, held_out_path)]
    (root / trained_path).write_bytes(contents[1])
    (root / held_out_path).write_bytes(contents[0])
    lines = recorded.changes(read(root))
    assert [line.partition(":")[0] for line in lines] == sorted([trained_path, held_out_path])


def test_changes_are_sorted_by_path_and_the_first_is_the_one_refused(root, recorded):
    paths = [f"train/good/{number:03d}.png" for number in range(COUNT)]
    for path in paths[::2]:
        (root / path).unlink()
    for path in paths[1::2]:
        write_image(root / path, 200)
    write_image(root / "train/good/000a.png", 0)
    write_image(root / "train/good/000.bmp", 0)
    lines = recorded.changes(read(root))
    expected = sorted([*paths, "train/good/000a.png", "train/good/000.bmp"])
    assert [line.partition(":")[0] for line in lines] == expected
    assert refusal(recorded.select, read(root)).startswith(f"{paths[0]}: missing ")


def test_the_record_survives_json_with_its_order(root, recorded):
    copy = TrainingFiles.from_json(json.loads(json.dumps(recorded.to_json())))
    assert copy == recorded
    for part, part_before in zip(copy.select(read(root)), recorded.select(read(root)), strict=True):
        assert part.paths == part_before.paths
        np.testing.assert_array_equal(part.images, part_before.images)


def test_the_recorded_order_decides_and_not_that_of_the_split():
    train = numbered(10)
    recorded = TrainingFiles.choose(train, fraction=0.3, seed=0)
    shuffled = train.take(np.random.default_rng(0).permutation(10))
    for part, expected in zip(recorded.select(shuffled), recorded.select(train), strict=True):
        assert numbers(part) == numbers(expected)


def test_the_same_folder_under_another_root_has_no_changes(tmp_path, recorded):
    for number in range(COUNT):
        write_image(tmp_path / f"copy/train/good/{number:03d}.png", number)
    assert recorded.changes(read(tmp_path / "copy")) == []


HASH = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (None, "JSON object"),
        ([], "JSON object"),
        ("trained", "JSON object"),
        ({}, "trained is missing"),
        ({"trained": {"a": HASH}}, "held_out is missing"),
        ({"held_out": {"a": HASH}}, "trained is missing"),
        ({"trained": {"a": HASH}, "held_out": {"b": HASH}, "test": {}}, "'test' is unknown"),
        ({"trained": {}, "held_out": {"b": HASH}}, "trained must"),
        ({"trained": {"a": HASH}, "held_out": {}}, "held_out must"),
        ({"trained": ["a"], "held_out": {"b": HASH}}, "trained must"),
        ({"trained": {"a": HASH}, "held_out": None}, "held_out must"),
        ({"trained": {"a": HASH}, "held_out": {1: HASH}}, "held_out: 1 must be a path"),
        ({"trained": {"a": HASH}, "held_out": {"b": 1}}, "held_out: 'b'"),
        ({"trained": {"a": HASH[:-1]}, "held_out": {"b": HASH}}, "trained: 'a'"),
        ({"trained": {"a": HASH + "0"}, "held_out": {"b": HASH}}, "trained: 'a'"),
        ({"trained": {"a": HASH + "\n"}, "held_out": {"b": HASH}}, "trained: 'a'"),
        ({"trained": {"a": HASH[:-1] + "g"}, "held_out": {"b": HASH}}, "trained: 'a'"),
        ({"trained": {"a\nb": HASH}, "held_out": {"a\nb": HASH}}, "in both"),
    ],
)
def test_json_of_any_other_form_is_refused_in_one_line(values, word):
    message = refusal(TrainingFiles.from_json, values)
    assert word in message


def test_json_of_that_form_is_accepted():
    values = {"trained": {"a": HASH}, "held_out": {"b": HASH}}
    assert TrainingFiles.from_json(values).to_json() == values

"""Acquisition conditions: pictures taken unlike the normal images are found, defects are not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from i3ad_jax import Detector
from i3ad_jax.calibration.acquisition import FEWEST, Acquisition
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.load import load_dataset
from i3ad_jax.runs.files import read_json, write_json

SIZE = (48, 64)


def pictures(seed: int, count: int, *, spread: float = 0.02) -> np.ndarray:
    """Brown and blue stripes with grain, whose brightness varies a little."""
    rng = np.random.default_rng(seed)
    stripes = (np.arange(SIZE[1]) // 8 % 2)[None, :, None]
    base = np.where(stripes, [150, 110, 70], [60, 80, 120]) * np.ones((*SIZE, 1))
    light = rng.normal(1, spread, (count, 1, 1, 1))
    grain = rng.normal(0, 6, (count, *SIZE, 1))
    return np.clip(base * light + grain, 0, 255).astype(np.uint8)


def split(images: np.ndarray) -> Split:
    return Split.of_normal_images(images)


def learned(images: np.ndarray) -> Acquisition:
    found = Acquisition.learn(split(images))
    assert found is not None
    return found


NORMAL = learned(pictures(0, 40))


def problems(images: np.ndarray, found: Acquisition = NORMAL) -> list[str | None]:
    return found.problems(images, [SIZE] * len(images))


def blurred(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))


def scaled(*factors: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda image: np.clip(image * np.array(factors), 0, 255).astype(np.uint8)


DISTURBANCES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "white frame": (lambda image: np.full_like(image, 255), "too bright: "),
    "black frame": (np.zeros_like, "too dark: "),
    "20 % darker": (scaled(0.8), "too dark: "),
    "50 % brighter": (scaled(1.5), "too bright: "),
    "camera in grey": (
        lambda image: np.repeat(image.mean(-1, keepdims=True).astype(np.uint8), 3, -1),
        "too little colour: ",
    ),
    "another lamp": (scaled(1.05, 1, 0.8), "colour cast: "),
    "defocus": (blurred, "blurred: "),
}


@pytest.mark.parametrize("name", DISTURBANCES)
@pytest.mark.parametrize("count", [FEWEST, 40])
def test_a_disturbed_picture_says_what_is_wrong(name: str, count: int) -> None:
    disturb, word = DISTURBANCES[name]
    found = problems(np.stack([*map(disturb, pictures(1, 5))]), learned(pictures(0, count)))
    assert all(problem is not None and problem.startswith(word) for problem in found), found


def test_a_picture_of_other_proportions_is_unusable() -> None:
    images = pictures(1, 2)
    found = NORMAL.problems(images, [(100, 134), (64, 48)])
    assert found[0] is None
    assert found[1] == "too narrow: width / height 0.75 (1.27 to 1.40 in usable images)"


@pytest.mark.parametrize("count", [5, 10, 20, 100])
def test_unseen_normal_pictures_are_usable(count: int) -> None:
    unseen = pictures(2, 100)
    for seed in range(5):
        assert problems(unseen, learned(pictures(seed, count))) == [None] * len(unseen)


@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)),
    st.integers(4, 16),
    st.integers(4, 20),
)
def test_a_local_defect_is_usable(
    seed: int, colour: tuple[int, int, int], height: int, width: int
) -> None:
    (image,) = pictures(seed, 1)
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, SIZE[0] - height), rng.integers(0, SIZE[1] - width)
    image[top : top + height, left : left + width] = colour
    assert problems(image[None]) == [None]


def test_bounds_are_the_range_of_normal_images_widened() -> None:
    gains = np.linspace(0.5, 1, 31)  # of flat pictures, whose brightness is known
    flat = np.stack([np.full((*SIZE, 3), round(200 * gain), np.uint8) for gain in gains])
    found, logs = learned(flat), np.log(np.round(200 * gains) + 4)  # an offset of four grey values
    logs -= np.median(logs)
    margin = (0.4 + 6 / 31) * (logs.max() - logs.min())
    low, high = found.bounds["exposure"]
    np.testing.assert_allclose((low, high), (logs.min() - margin, logs.max() + margin))
    np.testing.assert_allclose(found.bounds["blue"], (-0.1, 0.1), atol=1e-9)  # the floor


def test_bounds_are_the_same_whatever_the_parts_and_wider_for_other_images() -> None:
    images = pictures(0, 40)
    parts = Acquisition.learn(split(images[:30]), split(images[30:]))
    assert parts is not None
    assert parts.to_json() == NORMAL.to_json()
    assert NORMAL.extended(split(images[5:9])).to_json() == NORMAL.to_json()
    darker = (pictures(3, 8) * 0.7).astype(np.uint8)
    assert all(problems(darker))
    wider = NORMAL.extended(split(darker))
    assert problems(darker, wider) == [None] * len(darker)
    assert problems(images, wider) == [None] * len(images)
    assert wider.bounds["colour"] == NORMAL.bounds["colour"]


def test_too_few_images_teach_nothing() -> None:
    assert Acquisition.learn(split(pictures(0, FEWEST - 1))) is None


def test_conditions_come_back_from_json() -> None:
    values = json.loads(json.dumps(NORMAL.to_json()))
    found = Acquisition.from_json(values)
    assert found.to_json() == values
    images = pictures(4, 3, spread=0.3)
    assert problems(images, found) == problems(images)


def reversed_bound(values: dict[str, Any]) -> None:
    values["bounds"]["red"].reverse()


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("reference"),
        lambda values: values.update(reference=[[1.0]]),
        lambda values: values["reference"][0].__setitem__(0, "1"),
        lambda values: values["reference"][0].__setitem__(0, 10**400),
        lambda values: values["reference"][0].__setitem__(0, float("nan")),
        lambda values: values.update(bounds=3),
        lambda values: values["bounds"].pop("red"),
        reversed_bound,
    ],
)
def test_damaged_conditions_are_refused(damage: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(json.dumps(NORMAL.to_json()))
    damage(values)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Acquisition.from_json(values)


def test_a_run_keeps_its_conditions_and_its_switch(pca_run: Path, tmp_path: Path) -> None:
    detector = Detector.load(pca_run)
    known = detector.plan.acquisition
    assert known is not None
    ignoring = detector.with_rule(unusable="ignore")
    assert ignoring.with_rule(threshold=0.5).verdict.unusable == "ignore"
    ignoring.save(tmp_path / "run")
    loaded = Detector.load(tmp_path / "run")
    assert loaded.verdict.unusable == "ignore"
    assert loaded.plan.acquisition is not None
    assert loaded.plan.acquisition.to_json() == known.to_json()
    rule = read_json(tmp_path / "run/rule.json")
    del rule["unusable"]  # as versions without it wrote it
    write_json(tmp_path / "run/rule.json", rule)
    assert Detector.load(tmp_path / "run").verdict.unusable is None


def test_a_run_without_conditions_marks_nothing(detector_of_format_1: Detector) -> None:
    assert detector_of_format_1.plan.acquisition is None
    (found,) = detector_of_format_1.score(np.full((32, 32, 3), 255, np.uint8))
    assert found.unusable is None


@pytest.fixture
def detector_of_format_1() -> Detector:
    return Detector.load(Path(__file__).with_name("formats") / "1")


def test_recalibration_with_other_light_makes_it_usable(pca_run: Path, tiny_folder: Path) -> None:
    detector = Detector.load(pca_run)
    files = sorted(tiny_folder.glob("train/good/*.png"))
    darker = [(np.asarray(Image.open(file)) * 0.5).astype(np.uint8) for file in files]
    assert {found.verdict for found in detector.score(darker)} == {"unusable"}
    found = detector.recalibrated(darker).score(darker)
    assert "unusable" not in {each.verdict for each in found}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), (320, 320)])
@pytest.mark.parametrize("name", ["mvtec_bottle", "magnetic_tile", "screw", "elpv_mono"])
def test_no_picture_of_real_test_images_is_unusable(
    real_data: Callable[[str], Path], name: str, size: tuple[int, int]
) -> None:
    data = load_dataset(str(real_data(name)), size=size, aspect="stretch")
    found = Acquisition.learn(data.train)
    assert found is not None
    test = data.test
    assert not any(found.problems(test.images[:], test.original_sizes))
    normal = test.take(np.flatnonzero(test.labels == 0)[:20])
    ends = ("white frame", "black frame", "another lamp")
    for disturbance in DISTURBANCES if name == "mvtec_bottle" else ends:
        images = np.stack([*map(DISTURBANCES[disturbance][0], normal.images[:])])
        assert all(found.problems(images, normal.original_sizes)), disturbance

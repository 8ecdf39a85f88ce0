"""Estimates of a training's cost."""

from pathlib import Path

import pytest

from benchmarks.networks import build
from i3ad_jax.check.choices import predict_choices
from i3ad_jax.check.cost import (
    START,
    Cost,
    Images,
    count_step,
    estimate,
    estimate_bytes,
    estimate_seconds,
)
from i3ad_jax.check.records import read_records
from i3ad_jax.runtime import memory
from tests.support.cloth import small_config

DAY = 86_400.0
RATE = 400e9  # of a matrix product on two idle cores with AVX-512
# Steps, operations of a step, images trained on and calibrated, images tested, side of the working
# size, seconds of the whole command on this machine (docs/results.md, version 0.4).
MEASURED = {
    "bottle": (4000, 3.28e9, 209, 83, 256, 268),
    "magnetic tiles": (4000, 3.28e9, 762, 582, 320, 492),
    "solar cells": (4000, 3.28e9, 400, 300, 320, 316),
    "screw": (4000, 3.28e9, 320, 160, 256, 287),
    "cracked surfaces": (4000, 3.28e9, 150, 80, 320, 273),
    "built-in cloth": (4000, 6.74e9, 200, 112, 64, 454),
    "built-in cloth, quick preset": (250, 6.74e9, 200, 112, 64, 105),
}


@pytest.mark.parametrize("name", MEASURED)
def test_measured_times_are_within_the_estimate(name: str) -> None:
    steps, operations, train, test, side, seconds = MEASURED[name]
    scored = round(0.2 * train) + 160 + test
    least, most = estimate_seconds(steps * operations, scored=scored, pixels=side**2, rate=RATE)
    assert least < seconds < most
    assert most - START[1] < 2.5 * least


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "time unknown"),
        ((50.0, 90.0), "50 to 90 seconds"),
        ((55.0, 200.0), "1 to 3 minutes"),
        ((228.0, 441.0), "4 to 7 minutes"),
        ((118.0, 122.0), "2 minutes"),
        ((DAY / 2, 3 * DAY), "1 to 3 days"),
        ((DAY + 1, 3 * DAY), "needs a GPU: about 3 hours on an H100"),
    ],
)
def test_duration_is_readable(seconds: tuple[float, float] | None, text: str) -> None:
    assert Cost(1000, 1e12, seconds, 3 * 3600, 0).duration == text


def test_cost_is_that_of_all_steps_and_images(cloth: Path) -> None:
    config, images = small_config("i3ad"), read_records(cloth).readable("train")
    choices, counts = predict_choices(config, images), Images(40, 30)
    once = estimate(choices, counts, rate=1e11)
    longer = predict_choices(config.with_settings({"steps": 2 * config.training.steps}), images)
    twice = estimate(longer, counts, rate=1e11)
    assert once.seconds is not None
    assert twice.seconds is not None
    training = once.steps * once.operations / 1e11
    more = [b - a for a, b in zip(once.seconds, twice.seconds, strict=True)]
    assert more == pytest.approx([training / 0.17, training / 0.1])
    assert twice.seconds_on_gpu == pytest.approx(2 * once.seconds_on_gpu)
    half = predict_choices(config.with_settings({"dtype": "bfloat16"}), images)
    assert estimate(half, counts, rate=None).seconds_on_gpu < 0.6 * once.seconds_on_gpu
    assert estimate(choices, counts, rate=None).seconds is None
    larger = choices.config.with_settings(
        {"batch_size": 2 * config.training.batch_size, "steps": 1}
    )
    assert once.operations < count_step(build(larger)).operations


def test_memory_is_that_of_images_and_maps_of_every_score(
    cloth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = predict_choices(small_config("i3ad"), read_records(cloth).readable("train"))
    pixels = choices.sizes.working[0] * choices.sizes.working[1]
    scores = len(choices.config.build().score_names)

    def used(train: int, test: int) -> int:
        return estimate(choices, Images(train, test), rate=None).bytes_at_peak

    few = used(100, 100)
    assert few > 2**30
    assert used(100, 101) - few == pixels * (4 + 4 * scores)
    assert used(105, 100) - few == pixels * (5 * 3 + 4 * scores)  # one of five calibrates
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * pixels * scores * 1000)
    assert used(100, 1001) - used(100, 1000) < 0  # maps that are too many are in a file


@pytest.mark.parametrize(
    ("images", "side", "of_step", "peak"),
    [
        (Images(200, 112), 64, 97, 1554),  # built-in cloth, nothing compiled yet
        (Images(762, 582), 320, 63, 5210),  # magnetic tiles
    ],
)
def test_measured_memory_is_near_the_estimate(
    images: Images, side: int, of_step: int, peak: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 12 * 2**30)
    calibrate = round(0.2 * images.train) + 160
    found = estimate_bytes(of_step * 2**20, images, calibrate=calibrate, pixels=side**2, scores=9)
    assert found / 2**20 == pytest.approx(peak, rel=0.1)

"""Numbers of images and steps at a time, by the device."""

import pytest

from benchmarks.networks import build
from i3ad_jax.config import Config, default_config
from i3ad_jax.runtime.throughput import Device, Throughput, ThroughputSettings, Work

GIB = 2**30
CPU = Device(2, None)
CARDS = {size: Device(1, 3 * size * GIB // 4) for size in (8, 24, 141)}
"""Cards by their GB; JAX lets a process take three quarters of them."""
PAPER = build(default_config("i3ad", preset="paper")).work


@pytest.mark.parametrize("preset", ["standard", "paper"])
def test_a_cpu_has_the_same_numbers_whatever_the_work(preset: str) -> None:
    config = default_config("i3ad", preset=preset)
    assert build(config).throughput == Throughput(8, 64, 20)
    assert config.throughput.resolve(CPU, build(config).work) == Throughput(8, 64, 20)


def test_a_card_takes_images_until_they_fill_it() -> None:
    small = Work(side=64, width=8, step_bytes=3 * 12 * 64**2)
    found = [ThroughputSettings().resolve(card, small) for card in CARDS.values()]
    assert found == [Throughput(64, 256, 200)] * 3
    found = [ThroughputSettings().resolve(card, PAPER) for card in CARDS.values()]
    assert found == [Throughput(16, 64, 40), Throughput(16, 128, 140), Throughput(16, 128, 200)]


def test_large_images_are_as_many_as_memory_allows() -> None:
    large, settings = Work(side=1024, width=64, step_bytes=8 * 3 * 1024**2), ThroughputSettings()
    found = [settings.resolve(card, large) for card in CARDS.values()]
    assert found == sorted(found, key=lambda each: (each.queue_size, each.steps_per_call))
    assert [each.test_batch_size for each in found] == [1, 1, 1]
    tiny = settings.resolve(Device(1, 2**20), large)
    assert tiny == Throughput(1, 1, 20)


# By XLA's account of the loop in TF32, for a slot of width 24 (of width 8 for the smallest side).
@pytest.mark.parametrize("size", CARDS)
@pytest.mark.parametrize(("side", "slot"), [(64, 0.8), (256, 39.3), (512, 541.0)])
def test_what_a_card_is_given_fits_in_it(size: int, side: int, slot: float) -> None:
    card = CARDS[size]
    assert card.memory is not None
    found = ThroughputSettings().resolve(card, PAPER._replace(side=side, step_bytes=60 * side**2))
    image = 4 * side**2 * 40  # numbers of a pixel
    block = 2 * found.steps_per_call * 60 * side**2  # one at work, one read ahead
    assert (
        found.test_batch_size * slot * 2**20 + found.queue_size * image + block < 0.8 * card.memory
    )


def test_every_device_of_a_process_has_its_share() -> None:
    one, four = (ThroughputSettings().resolve(Device(n, 24 * GIB), PAPER) for n in (1, 4))
    assert (four.test_batch_size, four.queue_size) == (4 * one.test_batch_size, 4 * one.queue_size)


def test_what_the_user_gives_stays_on_any_device() -> None:
    given = default_config("i3ad").with_settings({"queue_size": 5})
    for device in (CPU, *CARDS.values()):
        found = given.throughput.resolve(device, PAPER)
        own = ThroughputSettings().resolve(device, PAPER)
        assert (found.queue_size, found.test_batch_size) == (5, own.test_batch_size)


def test_a_run_keeps_what_was_given_and_no_number_of_its_device() -> None:
    config = default_config("i3ad")
    assert config.to_json()["throughput"] == {"test_batch_size": None, "queue_size": None}
    old = {**config.to_json(), "throughput": {"test_batch_size": 8, "queue_size": 64}}
    assert Config.from_json(old).throughput == ThroughputSettings(8, 64)

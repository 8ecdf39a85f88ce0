"""Memory of the machine."""

import pytest

from i3ad_jax.errors import InputError
from i3ad_jax.runtime.memory import check_room, check_room_for_images, metrics_of


def test_room_for_arrays_is_what_the_machine_has() -> None:
    check_room(2**20, lower={"width": 3})
    with pytest.raises(InputError, match=r"^--width 3 or --queue-size 4: needs 1048576.0 GiB"):
        check_room(2**50, lower={"width": 3, "queue_size": 4})


def test_memory_of_a_device_is_what_jax_counts() -> None:
    # as of a GPU, by jax 0.10
    stats = {
        "num_allocs": 9,
        "bytes_in_use": 2**20,
        "peak_bytes_in_use": 3 * 2**30,
        "largest_alloc_size": 2**29,
        "bytes_limit": 112_580_362_240,
    }
    expected = {"device_bytes_peak": 3 * 2**30, "device_bytes_limit": 112_580_362_240}
    assert metrics_of(stats) == expected
    assert metrics_of({"bytes_in_use": 5}) == metrics_of(None) == {}


def test_results_that_do_not_fit_are_refused_by_the_number_of_images() -> None:
    check_room_for_images(2**10, 2**10)
    with pytest.raises(
        InputError, match=r"^3 images: .*GiB are free; give fewer images at a time$"
    ):
        check_room_for_images(2**50, 3)

"""Free memory of the machine and of its devices, and their limits."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax

from i3ad_jax.errors import InputError
from i3ad_jax.settings import flag

SYSTEM = Path("/proc/meminfo")
"""File with the memory of the machine."""
_GROUP = Path("/sys/fs/cgroup")


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if the error says that memory of the host or of a device is exhausted."""
    signs = ("RESOURCE_EXHAUSTED", "Out of memory", "ALLOC_FAILED")  # the last one of cuDNN, cuBLAS
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


def allowed(given: int | None) -> int:
    """Bytes that arrays which grow with the data may take: those given, or half of what is free."""
    return free_memory() // 2 if given is None else given


def check_room(needed: int, *, lower: dict[str, int]) -> None:
    """Raises InputError where arrays cannot fit in the memory of the device, before they are made.

    Args:
        needed: bytes that they take at least.
        lower: the settings that they come from, by name, with their values.
    """
    room = device_memory() or free_memory()
    if needed > room:
        settings = " or ".join(f"{flag(name)} {value}" for name, value in lower.items())
        raise InputError(
            f"{settings}: needs {needed / 2**30:.1f} GiB of memory at least, and {room / 2**30:.1f}"
            " GiB are free; lower it"
        )


def device_memory() -> int | None:
    """Return the bytes that this process may take on its first device; None for a CPU."""
    return device_metrics().get("device_bytes_limit")


def device_metrics() -> dict[str, int]:
    """Return `metrics_of` of this process's first device."""
    return metrics_of(jax.local_devices()[0].memory_stats())


def metrics_of(stats: Mapping[str, int] | None) -> dict[str, int]:
    """Return the most bytes that this process has taken on a device, and may take, by name.

    Args:
        stats: as `jax.Device.memory_stats` gives them: None, or without some values, for a device
            that does not count.
    """
    names = {"device_bytes_peak": "peak_bytes_in_use", "device_bytes_limit": "bytes_limit"}
    return {name: stats[own] for name, own in names.items() if own in stats} if stats else {}


def check_room_for_images(bytes_each: int, count: int) -> None:
    """Raise InputError where results cannot fit in the memory of the host, before they are made.

    Args:
        bytes_each: least size of the results of an image.
        count: number of images.
    """
    needed, free = bytes_each * count, free_memory()
    if needed > free:
        raise InputError(
            f"{count} images: their results need {needed / 2**30:.1f} GiB of memory at least, and"
            f" {free / 2**30:.1f} GiB are free; give fewer images at a time"
        )


def free_memory() -> int:
    """Bytes that this process may take without others being moved out of memory, about.

    On Linux what the system says is available, within the limit of a container; elsewhere half of
    what the computer has.
    """
    try:
        lines = dict(line.split(":", 1) for line in SYSTEM.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].removesuffix("kB"))
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        limit, used = (
            int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        kept = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        # which make room where it is needed
        files = int(kept["active_file"]) + int(kept["inactive_file"])
    except (OSError, ValueError, KeyError):  # no group, or "max"
        return free
    return min(free, max(limit - used + files, 0))

"""Free memory of the machine and its limits."""

import os
from pathlib import Path

import jax

from i3ad_jax.errors import InputError
from i3ad_jax.settings import flag

_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def allowed(given: int | None) -> int:
    """Bytes that arrays which grow with the data may take: those given, or half of what is free."""
    return free_memory() // 2 if given is None else given


def check_room(needed: int, *, lower: dict[str, int]) -> None:
    """Raises InputError where arrays cannot fit in the memory of the device, before they are made.

    Args:
        needed: bytes that they take at least.
        lower: the settings that they come from, by name, with their values.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    room = stats.get("bytes_limit") or free_memory()
    if needed > room:
        settings = " or ".join(f"{flag(name)} {value}" for name, value in lower.items())
        raise InputError(
            f"{settings}: needs {needed / 2**30:.1f} GiB of memory at least, and {room / 2**30:.1f}"
            " GiB are free; lower it"
        )


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
        lines = dict(line.split(":", 1) for line in _SYSTEM.read_text().splitlines())
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

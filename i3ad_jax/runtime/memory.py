"""How much memory there is to use."""

import os
from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def allowed(given: int | None) -> int:
    """Bytes that arrays which grow with the data may take: those given, or half of what is free."""
    return free_memory() // 2 if given is None else given


def free_memory() -> int:
    """Bytes that this process may take without others being moved out of memory, about.

    On Linux what the system says is available, within the limit of a container; elsewhere half of what the
    computer has.
    """
    try:
        lines = dict(line.split(":", 1) for line in _SYSTEM.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].removesuffix("kB"))
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        limit, used = (int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # no group, or "max"
        return free
    return min(free, max(limit - used, 0))

"""File systems in memory, in a namespace of a process's own; Linux's root alone may make them."""

import ctypes
import os
import subprocess
from pathlib import Path

_CLONE_NEWNS = 0x20000


def may_mount() -> bool:
    """Return whether this process may mount a file system in a namespace of its own."""
    mounting = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return os.geteuid() == 0 and subprocess.run(mounting, capture_output=True).returncode == 0


def own_namespace() -> None:
    """Mounts of this process are seen by it and its children alone, and end with them."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def mount(folder: Path, options: str) -> None:
    """Mounts a file system in memory on a folder, with options such as `size=8k`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)

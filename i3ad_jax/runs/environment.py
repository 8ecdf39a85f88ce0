"""Origin of a figure: time, machine, versions and commit."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from i3ad_jax.runtime.compiler import is_deterministic

PACKAGES = (
    "i3ad_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scikit-learn",
    "pillow",
)


def environment(*, command: Sequence[str] = ()) -> dict[str, Any]:
    """Return the origin of a figure as JSON values, with the command if there is one."""
    return {
        **({"command": list(command)} if command else {}),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "deterministic": is_deterministic(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the source tree's commit, with `-dirty` if changed; None outside a checkout."""
    folder = str(Path(__file__).parent)
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None

"""NVIDIA GPUs: why JAX does not use one that is expected, and sharing the memory of one."""

import logging
import os
import re
from importlib.metadata import entry_points
from pathlib import Path

import jax

from i3ad_jax.errors import reason_of

ROOT = Path("/")
"""Folder that the files of the NVIDIA driver are searched below."""
_VERSION = "proc/driver/nvidia/version"
_OLDEST = {"cuda13": 580, "cuda12": 525}  # drivers that JAX's plug-ins work with
_INSTALL = {
    "cuda13": "pip install --upgrade 'i3ad_jax[cuda]'",
    "cuda12": "pip install --upgrade 'jax[cuda12]'",
}
_ON_CPU = "JAX_PLATFORMS=cpu silences this line"
# JAX's variables that say how much memory of a GPU a process reserves.
RESERVING = (
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)


class _PluginErrors(logging.Filter):
    """Keeps the reasons of JAX's records on plug-ins that fail, which it drops.

    Attributes:
        reasons: one line for each plug-in: its name and the error.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reasons: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a record of a failed plug-in."""
        if not str(record.msg).startswith("Jax plugin configuration error"):
            return True
        error = record.exc_info[1] if record.exc_info else None
        reason = reason_of(error) if isinstance(error, Exception) else "cannot be loaded"
        self.reasons.append(": ".join([*map(str, record.args or ()), reason]))
        return False


_ERRORS = _PluginErrors()


def keep_plugin_errors() -> None:
    """Keep the errors of JAX's plug-ins for `unused_gpu`; JAX no longer prints their tracebacks.

    To be called before JAX is used.
    """
    logging.getLogger("jax._src.xla_bridge").addFilter(_ERRORS)


def share_gpu() -> None:
    """Take memory of a GPU when it is needed, unless the user's environment says otherwise.

    By default JAX reserves three quarters of it at its start, so that no second process fits. To be
    called before JAX is used.
    """
    if not any(os.environ.get(name) for name in RESERVING):
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def stay_on_cpu() -> None:
    """Compute on the CPU, whatever the machine has, unless the user's environment says otherwise.

    To be called before JAX is used.
    """
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")


def unused_gpu() -> str | None:
    """Return in one line why JAX computes on the CPU where a GPU is expected, and what to do.

    None where it computes on something else, where the user's environment chooses the CPU, and
    where the machine has neither an NVIDIA driver nor a plug-in of JAX.
    """
    if _chosen() or jax.default_backend() != "cpu":
        return None
    driver, card = (ROOT / _VERSION).exists(), any((ROOT / "dev").glob("nvidia[0-9]*"))
    installed = plugins()
    if not (installed or driver or card):
        return None
    reason = f" ({'; '.join(_ERRORS.reasons)})" if _ERRORS.reasons else ""
    if not (driver or card):
        problem = "no NVIDIA driver found"
        remedy = "install it, or start the container with --gpus all"
    elif not installed:
        problem, remedy = "JAX has no plug-in for this machine's NVIDIA GPU", _repair()
    elif not card:
        problem = "/dev/nvidia0 not found"
        remedy = "start the container with --gpus all, or request a GPU from the scheduler"
    else:
        problem, remedy = "JAX cannot use this machine's NVIDIA GPU", _repair()
    return f"computing on the CPU: {problem}{reason}; {remedy}; {_ON_CPU}"


def unusable_gpu(error: Exception) -> str | None:
    """Return in one line why JAX did not start, and what to do; None for other errors.

    Args:
        error: raised where JAX starts its devices.
    """
    text = reason_of(error)
    if platforms := os.environ.get("JAX_PLATFORMS"):
        reason = "".join(f" ({each})" for each in _ERRORS.reasons)
        return (
            f"JAX_PLATFORMS={platforms}: JAX has no such devices here{reason}; name others, or none"
        )
    reason, advice, _ = text.partition(" (you may need to uninstall the failing plugin")
    if not advice:
        return None
    return f"{reason}; {_repair()}, or set JAX_PLATFORMS=cpu to compute on the CPU"


def _chosen() -> bool:
    """Return True if the user's environment chooses JAX's devices, or hides the GPUs."""
    platforms = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
    return bool(platforms) or os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")


def plugins() -> set[str]:
    """Return the names of JAX's plug-ins that are installed or have failed."""
    return {entry.value for entry in entry_points(group="jax_plugins")} | set(_ERRORS.reasons)


def _repair() -> str:
    """Return the command that installs a plug-in for the driver, or says how old the driver is."""
    version = _driver_version()
    fitting = [name for name, oldest in _OLDEST.items() if version is None or version >= oldest]
    if not fitting:
        return f"update the NVIDIA driver {version} to {_OLDEST['cuda13']} or newer"
    command = _INSTALL[fitting[0]]
    if version is not None and fitting[0] != "cuda13":
        command += f" (driver {version} is too old for CUDA 13, which needs {_OLDEST['cuda13']})"
    if os.environ.get("LD_LIBRARY_PATH"):
        command += ", and unset LD_LIBRARY_PATH if it names other CUDA libraries"
    return command


def _driver_version() -> int | None:
    """Return the major version of the NVIDIA driver; None if it cannot be read."""
    try:
        text = (ROOT / _VERSION).read_text()
    except OSError:
        return None
    found = re.search(r"Kernel Module.*?\s(\d+)\.\d", text)
    return int(found[1]) if found else None

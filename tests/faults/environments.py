"""Commands where the machine refuses: folders, devices, variables and limits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .case import SCORES, TESTED, Case, Expected, Material
from .commands import COMMANDS, PREDICT, TRAIN, on
from .files import copy_run
from .mounts import may_mount, mount, own_namespace

_PLACES: dict[str, Expected] = {
    "/proc/nowhere": "refused",
    "/dev/null/x": "refused",
    "file/x": "refused",
    "loop/x": "refused",
    "x" * 300: "refused",
    "\udcff": "either",
    "new/in/new": "accepted",
}
_VARIABLES = (
    ("HOME", None),
    ("HOME", "/nowhere"),
    ("XDG_CACHE_HOME", "file"),
    ("XDG_CACHE_HOME", "/proc/nowhere"),
    ("JAX_COMPILATION_CACHE_DIR", "file"),
    ("TMPDIR", "/nowhere"),
    ("PATH", None),
    ("COLUMNS", "1"),
)
# What Python and JAX read when they start, each with how it must end.
_AT_START: tuple[tuple[str, str, Expected], ...] = (
    ("JAX_PLATFORMS", "cuda", "refused"),
    ("JAX_PLATFORMS", "nonsense", "refused"),
    ("JAX_ENABLE_X64", "1", "equal"),
    ("JAX_NUMPY_RANK_PROMOTION", "raise", "equal"),
    ("JAX_NUMPY_DTYPE_PROMOTION", "strict", "equal"),
    ("JAX_TRANSFER_GUARD", "disallow", "equal"),
    ("JAX_TRANSFER_GUARD_HOST_TO_DEVICE", "disallow_explicit", "equal"),
    ("JAX_THREEFRY_PARTITIONABLE", "0", "equal"),
    ("JAX_DEFAULT_PRNG_IMPL", "rbg", "equal"),
    ("JAX_DEBUG_NANS", "1", "equal"),
    ("JAX_DISABLE_JIT", "1", "equal"),
    ("PYTHONIOENCODING", "ascii", "accepted"),
    ("LC_ALL", "C", "accepted"),
)


def cases() -> Iterator[Case]:
    """Cases of surroundings, for every command that writes."""
    mounts = may_mount()
    for name, command in COMMANDS.items():
        if name == "check":  # which takes seconds, and writes as `report` does
            continue
        if "out" in command:
            for place, expected in _PLACES.items():
                called = "long" if len(place) > 99 else ascii(place)
                yield Case(
                    f"environments/{name}/out={called}",
                    on(command, out=place),
                    expected,
                    prepare=_files,
                )
            if mounts:
                moved = on(command, out="mounted/out")
                for size in ("8k", "40k", "100k", "200k", "400k"):
                    yield _mounted(f"{name}/tmpfs-{size}", moved, f"size={size}", "either")
                yield _mounted(f"{name}/read-only", moved, "ro", "refused")
        for root in range(1, 20):
            # Files end here as they would on a full disk, at another place in each case.
            yield Case(
                f"environments/{name}/full-at-{300 * root**2}",
                command,
                "either",
                prepare=_files,
                limits={"RLIMIT_FSIZE": 300 * root**2},
                environment={"JAX_ENABLE_COMPILATION_CACHE": "0", "TMPDIR": "."},
            )
        for variable, value in _VARIABLES:
            yield Case(
                f"environments/{name}/{variable}={value}",
                command,
                "accepted",
                prepare=_files,
                environment={"JAX_COMPILATION_CACHE_DIR": None, "HOME": "home", variable: value},
            )
        yield Case(
            f"environments/{name}/stdout-full",
            command,
            "refused",
            prepare=_files,
            fresh=True,
            stdout="/dev/full",
        )
    for variable, value, expected in _AT_START:
        for name, command, usual in (("train", TRAIN, TESTED), ("predict", PREDICT, SCORES)):
            yield Case(
                f"environments/{name}/{variable}={value}",
                command,
                expected,
                prepare=_files,
                usual=usual,
                environment={variable: value},
                fresh=True,
            )


def _mounted(name: str, command: tuple[str, ...], options: str, expected: Expected) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        _files(folder, material, rng)
        mounted = folder / "mounted"
        mounted.mkdir()
        own_namespace()
        mount(mounted, options)

    return Case(f"environments/{name}", command, expected, prepare=prepare)


def _files(folder: Path, material: Material, rng: np.random.Generator) -> None:
    copy_run(folder, material)
    (folder / "file").write_text("in the way")
    (folder / "loop").symlink_to("loop")

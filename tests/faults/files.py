"""Damage to a file of any format."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from .case import Expected, Material

Damage = Callable[[Path, np.random.Generator], None]


def copy_data(folder: Path, material: Material) -> None:
    """A data set to spoil, as `data`."""
    shutil.copytree(material.data, folder / "data")


def copy_run(folder: Path, material: Material) -> None:
    """A run to spoil, as `run`, and its data."""
    (folder / "data").symlink_to(material.data)
    shutil.copytree(material.run, folder / "run")


def written(content: bytes) -> Damage:
    """Other content."""
    return lambda file, rng: _replace(file, content)


def _replace(file: Path, content: bytes) -> None:
    file.unlink(missing_ok=True)
    file.write_bytes(content)


def _truncated(part: float) -> Damage:
    def spoil(file: Path, rng: np.random.Generator) -> None:
        content = file.read_bytes()
        _replace(file, content[: int(part * len(content))])

    return spoil


def _flipped(file: Path, rng: np.random.Generator) -> None:
    content = bytearray(file.read_bytes())
    for place in rng.integers(0, max(len(content), 1), 3 if content else 0):
        content[place] ^= int(rng.integers(1, 256))
    _replace(file, bytes(content))


def _zeroed(file: Path, rng: np.random.Generator) -> None:
    content = bytearray(file.read_bytes())
    first = int(rng.integers(0, max(len(content), 1)))
    content[first : first + 64] = bytes(len(content[first : first + 64]))
    _replace(file, bytes(content))


def _longer(file: Path, rng: np.random.Generator) -> None:
    _replace(file, file.read_bytes() + rng.bytes(100))


def _folder(file: Path, rng: np.random.Generator) -> None:
    file.unlink()
    file.mkdir()


def _fifo(file: Path, rng: np.random.Generator) -> None:
    file.unlink()
    os.mkfifo(file)


def _dangling(file: Path, rng: np.random.Generator) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def _loop(file: Path, rng: np.random.Generator) -> None:
    file.unlink()
    file.symlink_to(file.name)


def _noise(file: Path, rng: np.random.Generator) -> None:
    _replace(file, rng.bytes(1000))


# By name, with what becomes of an image or mask that is so damaged.
DAMAGE: Mapping[str, tuple[Damage, Expected]] = {
    "empty": (written(b""), "refused"),
    "text": (written(b"not what it seems\n"), "refused"),
    "zip": (written(b"PK\x03\x04" + bytes(200)), "refused"),
    "pickle": (written(b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00"), "refused"),
    "noise": (_noise, "refused"),
    "cut-5": (_truncated(0.05), "refused"),
    "cut-50": (_truncated(0.5), "either"),
    "cut-95": (_truncated(0.95), "either"),
    "flipped-1": (_flipped, "either"),
    "flipped-2": (_flipped, "either"),
    "flipped-3": (_flipped, "either"),
    "zeroed-1": (_zeroed, "either"),
    "zeroed-2": (_zeroed, "either"),
    "longer": (_longer, "either"),
    "fifo": (_fifo, "refused"),
    "dangling": (_dangling, "refused"),
    "loop": (_loop, "refused"),
    "folder": (_folder, "either"),
}

"""Checksums of a folder without its times, to compare with those of an undisturbed command."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from PIL import Image

from i3ad_jax.errors import InputError

# Of the time and place, or of the command that was resumed.
_OF_TIME = {
    "started",
    "seconds_per_image",
    "steps_per_second",
    "environment",
    "command",
    "git_commit",
}
_OF_TIME |= {"digest"}  # of all that a file says, which is compared by itself
_TEMPORARY = re.compile(r"\..*|.*\.orbax-checkpoint-tmp.*")
_GROWING = ("metrics.jsonl", "predictions.partial.csv", "predictions.json", "report.html")
Said = dict[str, str]
"""Checksum of the content of each file, by its path; a checkpoint is one file."""


def said(folder: Path) -> Said:
    """Return the content of all files in a folder. It uses JAX where there are checkpoints.

    Packages are imported here: JAX reads its environment when it is imported.
    """
    from i3ad_jax.methods.state import state_digest
    from i3ad_jax.runs.run_folder import RunFolder
    from i3ad_jax.runs.weights import load_weights

    found = {name: _digest(path, folder) for name, path in _files(folder).items()}
    for checkpoints in folder.rglob("checkpoints"):
        run = RunFolder(checkpoints.parent)
        step, state = load_weights(run, run.read_plan().method)
        found[checkpoints.relative_to(folder).as_posix()] = f"{step} {state_digest(state)}"
    return found


def left_over(folder: Path) -> list[str]:
    """Temporary files and folders."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if _TEMPORARY.fullmatch(path.name) and path.name != ".lock"
    )


def wrong_but_readable(folder: Path, whole: Said) -> list[str]:
    """Files that a reader accepts, and that do not say what they say in the folder of a whole run.

    What grows, and checkpoints, are left to the comparison at the end.
    """
    found = []
    for name, path in _files(folder).items():
        if (
            path.name not in _GROWING
            and whole.get(name) != _digest(path, folder)
            and _is_readable(path)
        ):
            found.append(name)
    return found


def _files(folder: Path) -> dict[str, Path]:
    """All but temporary ones and checkpoints, by their names."""
    inside = (Path(root) / file for root, _, files in os.walk(folder) for file in files)
    names = {path.relative_to(folder): path for path in inside if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in sorted(names.items())
        if "checkpoints" not in name.parts and not any(map(_TEMPORARY.fullmatch, name.parts))
    }


def _digest(path: Path, folder: Path) -> str:
    content = path.read_bytes()
    if path.suffix in (".json", ".jsonl"):
        try:
            rows = [
                json.loads(row)
                for row in ([content] if path.suffix == ".json" else content.splitlines())
            ]
            content = json.dumps(_timeless(rows)).encode()
        except ValueError:
            pass
    if path.name == "report.html":  # is full of seconds and dates
        return content[-8:].decode(errors="replace").strip()
    return hashlib.sha256(content.replace(str(folder).encode(), b"")).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inside) for key, inside in value.items() if key not in _OF_TIME}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def _is_readable(path: Path) -> bool:
    from i3ad_jax.data.images import read_image
    from i3ad_jax.runs.files import read_array, read_json

    packs = (path.parent, path.parent.parent)
    if any((pack / "train.csv").exists() and not (pack / "packed.json").exists() for pack in packs):
        return False  # packed data without its mark is none
    readers = {".json": read_json, ".npy": read_array, ".jpg": read_image, ".png": _read_png}
    try:
        readers.get(path.suffix, Path.read_bytes)(path)
    except (InputError, OSError, ValueError):
        return False
    return True


def _read_png(path: Path) -> None:
    with Image.open(path) as picture:
        picture.load()

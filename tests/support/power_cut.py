"""Contents of a folder after a power cut, from a plain account of every sync and rename."""

import os
import stat
from pathlib import Path
from threading import Lock

import pytest

Files = dict[str, bytes]


class Disk:
    """Records what the process that runs the test syncs; the real calls are made too.

    Two disks bound all others: `kept` has only what was synced, content and names; an eager one has
    every name at once, but of a file's content only what was synced.

    Attributes:
        seen: content of the eager disk after each rename: a power cut then would leave it.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.seen = root, list[Files]()
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        for folder, _, files in os.walk(root):  # what is there already has been for long
            self._note_names(Path(folder).stat().st_ino, folder)
            for file in (Path(folder, name) for name in files):
                self._contents[file.stat().st_ino] = file.read_bytes()
        fsync, replace, one_by_one = os.fsync, os.replace, Lock()

        def note_sync(file: int) -> None:
            with one_by_one:
                fsync(file)
                about = os.fstat(file)
                if stat.S_ISDIR(about.st_mode):
                    self._note_names(about.st_ino, file)
                else:
                    self._names.pop(about.st_ino, None)  # a folder that is gone had the same number
                    self._contents[about.st_ino] = os.pread(file, about.st_size, 0)

        def note_rename(old: str, new: str) -> None:
            with one_by_one:
                replace(old, new)
                self.seen.append(self._eager())

        patch.setattr(os, "fsync", note_sync)
        patch.setattr(os, "replace", note_rename)

    @property
    def kept(self) -> Files:
        """Files by their paths below the root, as a power cut now would leave them at worst."""
        found: Files = {}

        def walk(folder: int, above: str) -> None:
            for name, node in self._names.get(folder, {}).items():
                if node in self._names:
                    walk(node, f"{above}{name}/")
                else:
                    found[above + name] = self._contents.get(node, b"")

        walk(self.root.stat().st_ino, "")
        return found

    def _note_names(self, node: int, folder: str | int) -> None:
        with os.scandir(folder) as entries:
            self._names[node] = {entry.name: entry.inode() for entry in entries}

    def _eager(self) -> Files:
        return {
            name: self._contents.get(path.stat().st_ino, b"")
            for name, path in _files(self.root).items()
        }


def content(root: Path) -> Files:
    """Files by their paths below a folder, as they are without a power cut."""
    return {name: path.read_bytes() for name, path in _files(root).items()}


def _files(root: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}

"""Files and folders that survive a power cut: what is written, renamed or removed waits for the disk.

A write alone waits for nothing: the system keeps it in memory for some seconds. A rename can reach the disk
before the content of the file does, and leave an empty file in the place of a whole one.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NO_SYNC = (errno.EACCES, errno.EBADF, errno.EINVAL)  # of systems that cannot open or sync folders


def sync(path: Path) -> None:
    """Waits until a file, or a folder with all that is below it, is on the disk.

    Raises:
        OSError: the disk is full or fails.
    """
    if path.is_dir():
        for folder, _, names in os.walk(path, topdown=False):
            for file in (Path(folder, name) for name in names):
                if file.is_file():
                    _sync(file)
            sync_names(Path(folder))
    else:
        _sync(path)


def sync_names(folder: Path) -> None:
    """Waits until the disk knows which files and folders are in a folder.

    Raises:
        OSError: the disk fails.
    """
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it, where it does not exist.

    Raises:
        OSError: something else lies there, or it cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_names(folder.parent)


def put(temporary: Path, path: Path) -> None:
    """Puts a file or a folder that is finished in the place of `path`, in the same file system.

    After a power cut, the old one or the new one is there, and it is whole.

    Raises:
        OSError: `path` is a folder that is not empty, or the disk is full or fails.
    """
    sync(temporary)
    temporary.replace(path)
    sync_names(path.parent)


def remove(file: Path) -> None:
    """Removes a file if it is there.

    Raises:
        OSError: it cannot be removed.
    """
    if os.path.lexists(file):
        file.unlink()
        sync_names(file.parent)


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """A temporary file beside `file`, which takes its place at the end of the block, or goes if it fails."""
    temporary = file.with_name(f".{os.getpid()}.{file.name}")  # NumPy and Pillow go by the suffix
    try:
        yield temporary
        put(temporary, file)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what counts
            temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that a killed process left in a folder, beside files that are whole now."""
    for left in folder.glob(".[0-9]*.*"):
        _, _, name = left.name.split(".", 2)
        if left.with_name(name).exists():
            left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

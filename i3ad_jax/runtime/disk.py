"""Files and folders that survive a power cut: writes, renames and removals wait for the disk.

A write alone waits for nothing: the system keeps it in memory for some seconds. A rename can reach
the disk before the content of the file does, and leave an empty file in the place of a whole one.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNFINISHED = re.compile(r"\.\d+\..+|.+\.orbax-checkpoint-tmp")  # by `whole`, and of Orbax
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
        OSError: something else is there, or it cannot be made.
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
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` for a file, or for a folder where there is none or an empty one.

    What is there takes the place of `path` at the end of the block, or goes if that fails.
    """
    temporary = path.with_name(f".{os.getpid()}.{path.name}")  # NumPy and Pillow go by the suffix
    try:
        yield temporary
        put(temporary, path)
    except BaseException:
        with suppress(OSError):  # what went wrong first is what counts
            _remove(temporary)
        raise


def remove_unfinished(paths: Iterable[Path]) -> None:
    """Remove the files and folders that a killed process was writing."""
    for path in [path for path in paths if _UNFINISHED.fullmatch(path.name)]:
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

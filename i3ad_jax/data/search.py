"""Search for image files in folders, by one set of rules for data sets and predictions.

Image files are known by their suffix. Hidden files and folders, what operating systems and archives
leave behind, and pictures that this package has written are ignored. Linked folders are entered,
each once. A folder that cannot be read is an error.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import NamedTuple, NoReturn

from i3ad_jax.data.decoder import SUFFIXES
from i3ad_jax.data.files import check_name
from i3ad_jax.errors import InputError

RUN, PREDICTION = "run.json", "predictions.json"
"""Files by which the folders of a run and of a prediction are known."""
RESULT_FOLDERS = ("maps", "pictures")
"""Folders of a prediction with a file for each image."""
_LEFT_BEHIND = frozenset(
    {
        *("__macosx", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin"),
        *("@eadir", "#recycle"),  # of network storage
    }
)


class Found(NamedTuple):
    """Contents of folders.

    Attributes:
        images: image files.
        folders: the folders directly in the folder that was listed.
        ignored: numbers of other files and folders, by reason in a few words.
    """

    images: list[Path]
    folders: list[Path]
    ignored: Counter[str]


def is_ignored(name: str) -> bool:
    """Return whether a file or folder of this name is never part of a data set."""
    return name.startswith(".") or name.casefold() in _LEFT_BEHIND


def is_image(path: PurePath) -> bool:
    """Return whether a file is an image by its suffix, and not ignored."""
    return path.suffix.lower() in SUFFIXES and not is_ignored(path.name)


def ignored_files(suffix: str) -> str:
    """Return the reason for which files of a suffix are ignored, as `Found` counts it."""
    return f"{suffix or 'other'} files"


def list_folder(folder: Path) -> Found:
    """List the image files and the folders directly in a folder, by name.

    Nothing is found if it does not exist.

    Raises:
        InputError: it cannot be listed, or a name is not UTF-8.
    """
    images, folders, ignored = [], [], Counter[str]()
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = folder / entry.name
                if is_ignored(entry.name):
                    ignored["hidden or system files"] += 1
                elif _is_folder(entry):
                    folders.append(path)
                elif path.suffix.lower() in SUFFIXES:
                    images.append(path)
                else:
                    ignored[ignored_files(path.suffix.lower())] += 1
    except FileNotFoundError:
        return Found([], [], Counter())
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be listed ({error.strerror}); check its"
            " permissions"
        ) from error
    for path in (*images, *folders):
        check_name(path)
    return Found(images, folders, ignored)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _raise(error: InputError) -> NoReturn:
    raise error


def find_below(folder: Path, *, report: Callable[[InputError], None] = _raise) -> Found:
    """Find the image files anywhere below a folder that exists, in the order of their paths.

    Args:
        folder: existing folder.
        report: is given the error of each folder that cannot be listed or has a name that is not
            UTF-8, which is left out if it returns.

    Raises:
        InputError: such an error, by default.
    """
    images, ignored, seen, links = [], Counter[str](), set[str](), [folder]

    def enter(place: Path) -> None:
        real = os.path.realpath(place)
        if real in seen:
            ignored["links to folders that are read already"] += 1
            return
        seen.add(real)
        try:
            found = list_folder(place)
        except InputError as error:
            report(error)
            return
        images.extend(found.images)
        ignored.update(found.ignored)
        for each in found.folders:
            if _has_results(each):
                ignored["folders with results"] += 1
            elif each.is_symlink():
                links.append(each)
            else:
                enter(each)

    while links:  # after the folders of the tree itself, which have their images under their names
        enter(links.pop(0))
    return Found(sorted(images), [], ignored)


def _has_results(folder: Path) -> bool:
    """Return whether this package has written a folder: of a run, or of a prediction's pictures."""
    of_prediction = folder.name in RESULT_FOLDERS
    return os.path.exists(folder.parent / PREDICTION if of_prediction else folder / RUN)  # noqa: PTH110 (Path.exists raises where a folder is closed)


def describe(ignored: Counter[str]) -> str:
    """Return what was ignored, for people: "3 .txt files, 1 hidden or system file"."""
    return ", ".join(counted(count, reason) for reason, count in sorted(ignored.items()))


def counted(count: int, things: str) -> str:
    """Return a number of things whose first word in the plural ends in s: "1 file", "2 files"."""
    return f"{count} {things}" if count != 1 else "1 " + re.sub(r"s\b", "", things, count=1)

"""Files that systems leave, links, loops and empty folders, at every place of a data set."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tests.faults.case import Case, Expected, Material
from tests.faults.files import copy_data
from tests.faults.usual import FOLDER

from .made import packed

PLACES = (
    ".",
    "train",
    "train/good",
    "test",
    "test/good",
    "test/spot",
    "ground_truth",
    "ground_truth/spot",
)
Litter = Callable[[Path, Path], object]
"""Is given the folder to leave something in, and an image."""


def _copied(name: str) -> Litter:
    def leave(folder: Path, image: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / name)

    return leave


def _written(name: str, content: bytes = b"text\n") -> Litter:
    return lambda folder, image: (folder / name).write_bytes(content)


def _linked(name: str, to: str) -> Litter:
    return lambda folder, image: (folder / name).symlink_to(to)


def _socket(folder: Path, image: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # names of sockets are short
    socket.socket(socket.AF_UNIX).bind("control")
    os.chdir(here)


def _loops(folder: Path, image: Path) -> None:
    (folder / "loop").symlink_to(".")
    if folder.name not in ("data", "shots"):  # above which other images may be
        (folder / "up").symlink_to("..")


def _all(*litter: Litter) -> Litter:
    def leave(folder: Path, image: Path) -> None:
        for each in litter:
            each(folder, image)

    return leave


_LITTER: Mapping[str, Litter] = {
    "apple-doubles": _all(_written("._0.png", b"\0\5\x16\7" + bytes(100)), _written("._readme")),
    "ds-store": _written(".DS_Store", b"\0\0\0\1Bud1"),
    "hidden-images": _all(_copied(".a.png"), _copied(".cache/images/0.png"), _copied(".git/0.png")),
    "checkpoints": _copied(".ipynb_checkpoints/0-checkpoint.png"),
    "macosx": _all(_copied("__MACOSX/0.png"), _copied("__MACOSX/a/._0.png")),
    "windows": _all(*map(_written, ("Thumbs.db", "THUMBS.DB", "desktop.ini", "Desktop.ini"))),
    "recycled": _all(_copied("$RECYCLE.BIN/0.png"), _copied("lost+found/0.png")),
    "synology": _copied("@eaDir/0.png"),
    "texts": _all(*map(_written, ("README.txt", "LICENSE", "notes.csv", "labels.json", "a.xml"))),
    "unfinished": _all(*map(_written, ("0.png~", "0.png.part", ".a.png.swp", "0.png.txt"))),
    "other-images": _all(_written("a.gif", b"GIF89a"), _written("a.CR2"), _written("a.svg")),
    "links-nowhere": _all(_linked("latest", "nowhere"), _linked("itself", "itself")),
    "loops": _loops,
    "empty": _all(
        lambda folder, image: (folder / "empty").mkdir(),
        lambda folder, image: (folder / "a/b/c").mkdir(parents=True),
    ),
    "pipes": _all(lambda folder, image: os.mkfifo(folder / "pipe"), _socket),
}


def cases() -> Iterator[Case]:
    """Cases of a data set that is packed, and of a folder of images that is scored."""
    for name, leave in _LITTER.items():
        for place in PLACES:

            def littered(data: Path, leave: Litter = leave, place: str = place) -> None:
                leave(data / place, data / "train/good/0.png")

            yield packed(f"folders/{name}/{place}", littered)
        for place in ("shots", "shots/inner"):

            def with_litter(folder: Path, leave: Litter = leave, place: str = place) -> None:
                leave(folder / place, folder / "shots/0.png")

            yield shots(f"folders/{name}/{place}", with_litter)
    for place in PLACES:  # deeper images are no part of the layout
        yield packed(
            f"folders/deep-images/{place}",
            lambda data, place=place: _copied("a/b/0.png")(data / place, data / "train/good/0.png"),
        )
    for place in PLACES[1:]:
        yield packed(f"folders/linked/{place}", lambda data, place=place: _elsewhere(data / place))
    for place in (each for each in PLACES if each.count("/") and each != "."):
        yield packed(
            f"folders/linked-files/{place}", lambda data, place=place: _linked_files(data / place)
        )
        yield packed(
            f"folders/hard-links/{place}",
            lambda data, place=place: _linked_files(data / place, link=os.link),
        )
    changes: dict[str, Callable[[Path], object]] = {
        "linked-folder": lambda folder: _elsewhere(folder / "shots/inner"),
        "linked": lambda folder: _elsewhere(folder / "shots"),
        "linked-files": lambda folder: _linked_files(folder / "shots/inner"),
        "linked-twice": lambda folder: (folder / "shots/again").symlink_to("inner"),
        "linked-above": lambda folder: (folder / "shots/inner/above").symlink_to("../../shots"),
        "linked-to-each-other": _linked_to_each_other,
        "deep": lambda folder: _deep(folder / "shots"),
    }
    for name, change in changes.items():
        yield shots(f"folders/shots-{name}", change)
    yield from _results_inside()


def _elsewhere(folder: Path) -> None:
    """Move a folder away, and leave a link."""
    kept = folder.parent / ".kept"
    folder.rename(kept)
    folder.symlink_to(kept.name)


def _linked_files(
    folder: Path, link: Callable[[Path, Path], object] = lambda to, file: file.symlink_to(to)
) -> None:
    for file in list(folder.iterdir()):
        kept = folder / ".kept" / file.name
        kept.parent.mkdir(exist_ok=True)
        file.rename(kept)
        link(kept, file)


def _linked_to_each_other(folder: Path) -> None:
    (folder / "shots/a").mkdir()
    (folder / "shots/a/inner").symlink_to("../inner")
    (folder / "shots/inner/a").symlink_to("../a")


def _deep(folder: Path) -> None:
    deep = folder / "/".join("abcdefgh" * 6)
    deep.mkdir(parents=True)
    (folder / "0.png").rename(deep / "0.png")


def shots(
    name: str,
    change: Callable[[Path], object],
    *,
    command: tuple[str, ...] = ("predict", "run", "shots", "--out", "out", "--save", "scores"),
    expected: Expected = "equal",
) -> Case:
    """Return the case of a folder of images that is scored, with one of them in a folder in it.

    Args:
        name: of the case, without its group.
        change: is given the folder of the case.
        command: command line that scores.
        expected: required end.
    """

    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        (folder / "run").symlink_to(material.run)
        (folder / "shots/inner").mkdir(parents=True)
        for place, number in (("shots", 0), ("shots/inner", 1), ("shots", 2)):
            shutil.copy(material.data / f"test/spot/{number}.png", folder / place)
        change(folder)

    return Case(f"unusual/{name}", command, expected, "shots", prepare, usual=FOLDER)


def _results_inside() -> Iterator[Case]:
    """Cases of results inside of the folder whose images are scored, and of a second run of it."""
    scores = ("predict", "run", "shots", "--out", "shots/results", "--save", "scores")
    pictures = (*scores, "maps", "pictures")

    def linked(folder: Path) -> None:
        (folder / "out").symlink_to("shots/results")

    def again(folder: Path) -> None:
        linked(folder)
        done = [sys.executable, "-m", "i3ad_jax", *pictures]
        subprocess.run(done, cwd=folder, check=True, capture_output=True)

    yield shots("folders/results-inside", linked, command=scores)
    yield shots("folders/pictures-inside", linked, command=pictures)
    yield shots("folders/pictures-inside-resumed", again, command=(*pictures, "--resume"))
    yield shots("folders/pictures-inside-again", again, command=pictures, expected="same")


def copied(folder: Path, material: Material) -> None:
    """Copy the run and the data set into a case's folder."""
    copy_data(folder, material)
    shutil.copytree(material.run, folder / "run")

"""Names of the files that `predict` writes for each image: the sub-folders of the input, mirrored.

Names are unique without regard to case, as on the file systems of Windows and macOS.
"""

import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, get_args
from unicodedata import normalize

from i3ad_jax.data.sources import Row, Source
from i3ad_jax.predict.results import PICTURE_SUFFIX, MapFormat

_SUFFIXES = (PICTURE_SUFFIX, *(f".{form}" for form in get_args(MapFormat)))


class NamedSource(NamedTuple):
    """An image to score.

    Attributes:
        source: path or URI of the image.
        name: of its map and picture: a relative path with forward slashes, without a suffix.
    """

    source: Source
    name: str


class _Place(NamedTuple):
    """Drive or scheme, and the parts of the path there, without dots and double slashes."""

    anchor: str
    parts: tuple[str, ...]


def name_sources(sources: Sequence[Source], *, given: Sequence[str]) -> list[NamedSource]:
    """Name the images by their paths relative to the folder that was given.

    Of several folders and files it is their common parent. Images whose paths differ only in the
    suffix keep it in their names; an image that is given twice has numbered names. A part that
    begins with a dot gets an underscore before it: names of unfinished files begin so.

    Args:
        sources: the images.
        given: the paths and URIs that they were found by.
    """
    places = [_place(source) for source in sources]
    roots = _roots(places, given)
    paths = [
        "/".join(f"_{part}" if part.startswith(".") else part for part in parts)
        for parts in (place.parts[len(roots[place.anchor]) :] for place in places)
    ]
    stems = [
        path if isinstance(source, Row) else posixpath.splitext(path)[0]
        for path, source in zip(paths, sources, strict=True)
    ]
    distinct = {_key(path): _key(stem) for path, stem in zip(paths, stems, strict=True)}
    count = Counter(distinct.values())
    wanted = [
        stem if count[_key(stem)] == 1 else path for stem, path in zip(stems, paths, strict=True)
    ]
    return list(map(NamedSource, sources, _distinct(wanted)))


def _distinct(wanted: Sequence[str]) -> list[str]:
    """Number names that are taken, or whose files would take the place of a folder."""
    parents = {PurePosixPath(name.rpartition("/")[0]) for name in wanted}
    folders = {_key(str(path)) for parent in parents for path in (parent, *parent.parents)}
    taken = {
        folder.removesuffix(suffix)
        for folder in folders
        for suffix in _SUFFIXES
        if folder.endswith(suffix)
    }
    next_number: dict[str, int] = {}
    names = []
    for stem in wanted:
        key = _key(stem)
        name, number = stem, next_number.get(key, 2)
        while _key(name) in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(_key(name))
        next_number[key] = number
        names.append(name)
    return names


def _roots(places: Sequence[_Place], given: Sequence[str]) -> dict[str, Sequence[str]]:
    """Paths that all names are relative to, by drive or scheme."""
    folders: dict[str, list[tuple[str, ...]]] = {}
    for anchor, parts in map(_place_of_text, given):
        folders.setdefault(anchor, []).append(parts)
    for anchor, parts in places:
        folders.setdefault(anchor, []).append(parts[:-1])
    prefix = os.path.commonprefix  # of tuples it compares items
    return {anchor: prefix(found) for anchor, found in folders.items()}


def _place(source: Source) -> _Place:
    if isinstance(source, Row):
        anchor, parts = _place(source.table)
        return _Place(anchor, (*parts[:-1], source.stem))
    return _place_of_text(str(source))


def _place_of_text(text: str) -> _Place:
    scheme, separator, rest = text.partition("://")
    if separator:
        return _Place(scheme, tuple(posixpath.normpath(f"/{rest}").strip("/").split("/")))
    path = Path(os.path.abspath(text))  # noqa: PTH100 (Path.absolute keeps "..")
    return _Place(path.anchor, path.parts[1:])


def _key(name: str) -> str:
    """The same for names that a file system may take for one."""
    return normalize("NFC", name.casefold())

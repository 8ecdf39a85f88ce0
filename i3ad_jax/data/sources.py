"""Sources of images: files, URIs and rows of Parquet files, listed first and read in turn."""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from i3ad_jax.data.decoder import SUFFIXES
from i3ad_jax.data.files import open_file
from i3ad_jax.data.inputs import find_images
from i3ad_jax.data.search import is_ignored, is_image
from i3ad_jax.errors import InputError, reason_of

_ROWS_AT_ONCE = 64
# bytes of a Parquet file; without it pyarrow reads all that a group of rows holds
_READ_AHEAD = 2**22


@dataclass(frozen=True, slots=True)
class Uri:
    """A file that fsspec opens, such as `s3://bucket/image.png`."""

    uri: str

    def __str__(self) -> str:
        return self.uri

    def read_bytes(self) -> bytes:
        """The file's content; whatever the file system raises."""
        import fsspec

        with fsspec.open(self.uri, "rb") as file:
            return file.read()  # pyright: ignore[reportAttributeAccessIssue] (one file, not a list)


@dataclass(frozen=True, slots=True)
class Row:
    """Row of a Parquet file, counted from 0; one column holds the content of an image file."""

    table: Path | Uri
    column: str
    number: int

    def __str__(self) -> str:
        return f"{self.table}#{self.number}"

    @property
    def stem(self) -> str:
        """The table's name without its suffix, and the number."""
        return f"{PurePosixPath(str(self.table)).stem}-{self.number}"


Source = Path | Uri | Row


@dataclass(frozen=True)
class Cell:
    """Content of a row of a Parquet file, or the reason why it could not be read."""

    row: Row
    content: bytes | None
    problem: str = "the cell is empty"

    def __str__(self) -> str:
        return str(self.row)

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            ValueError: there is none.
        """
        if self.content is None:
            raise ValueError(self.problem)
        return self.content


class FoundSources(NamedTuple):
    """Images, and numbers of what was ignored in folders, by reason."""

    sources: list[Source]
    ignored: Counter[str]


def find_sources(paths: Sequence[str], *, column: str) -> FoundSources:
    """The images that paths and URIs name, in that order.

    Args:
        paths: files, folders, of which every image below is taken, sorted, and Parquet files; or
            URIs of these. A Parquet file stands for the images in its rows.
        column: of Parquet files: with the contents of images' files, or with their paths, relative
            to the Parquet file's folder, or URIs.

    Raises:
        InputError: a path does not exist, a folder holds no image, a Parquet file cannot be read or
            has no such column, or a package is missing.
    """
    found, ignored = list[Source](), Counter[str]()
    for path in paths:
        if "://" in path:
            for uri in _below(path):
                found += _rows(uri, column) if _is_parquet(uri.uri) else [uri]
        elif _is_parquet(path) and Path(path).is_file():
            found += _rows(Path(path), column)
        else:
            below = find_images([Path(path)])
            found += below.images
            ignored += below.ignored
    if not found:
        raise InputError(
            f"{', '.join(paths) or 'no path given'}: no images; name files, folders or URIs"
        )
    return FoundSources(found, ignored)


def digest_of_sources(sources: Iterable[Source]) -> str:
    """Return the SHA-256 of the images' names and of their files' sizes and modification times.

    Rows count by the size and time of their tables. It is enough to see that they are still the
    same. Of images that URIs name it is the names alone: a request for each would take long.
    """
    digest = hashlib.sha256()
    state_of_table = cache(_state)
    for source in sources:
        match source:
            case Path():
                state = _state(source)
            case Row():
                state = (source.column, state_of_table(source.table))
            case Uri():
                state = ()
        digest.update(repr((str(source), state)).encode())
    return digest.hexdigest()


class Reader:
    """Reads rows of Parquet files.

    It continues in the current file where the next row is ahead: to begin in the middle of a group
    of rows means to read all of the group before.
    """

    def __init__(self) -> None:
        self._table: Path | Uri | None = None
        self._batches: Iterator[Any] = iter(())
        self._groups: list[int] = []  # number of the first row of each
        self._first, self._batch = 0, ()  # the rows at hand

    def opened(self, sources: Iterable[Source]) -> Iterator[Path | Uri | Cell]:
        """The same images, with the content of those in rows."""
        for source in sources:
            yield self._cell(source) if isinstance(source, Row) else source

    def _cell(self, row: Row) -> Cell:
        try:
            if not self._lies_ahead(row):
                self._begin(row)
            while row.number >= self._first + len(self._batch):
                self._first += len(self._batch)
                self._batch = next(self._batches)
        except (
            Exception
        ) as error:  # of the file system or pyarrow's; the rows of other tables can be read
            self._table = None
            return Cell(row, None, reason_of(error))
        return Cell(row, self._batch[row.number - self._first].as_py())

    def _lies_ahead(self, row: Row) -> bool:
        ahead = row.table == self._table and row.number >= self._first
        return ahead and self._group(row) <= self._first + len(self._batch)

    def _group(self, row: Row) -> int:
        return self._groups[bisect_right(self._groups, row.number) - 1]

    def _begin(self, row: Row) -> None:
        from pyarrow import parquet

        self._batches = iter(())  # closes the file at hand
        self._batches = self._read(parquet, row)
        self._first, self._batch, self._table = next(self._batches), (), row.table

    def _read(self, parquet: Any, row: Row) -> Iterator[Any]:
        """The number of the first row that follows, then batches of rows."""
        with (
            _opened(row.table) as file,
            parquet.ParquetFile(file, buffer_size=_READ_AHEAD) as table,
        ):
            groups = range(table.num_row_groups)
            sizes = (table.metadata.row_group(group).num_rows for group in groups)
            self._groups = list(accumulate(sizes, initial=0))[:-1]
            first = self._group(row)
            yield first
            later = groups[self._groups.index(first) :]
            for batch in table.iter_batches(_ROWS_AT_ONCE, row_groups=later, columns=[row.column]):
                yield batch.column(0)


def _state(file: Path | Uri) -> object:
    try:
        if isinstance(file, Uri):
            return _file_system(file.uri)[0].ukey(file.uri)
        found = file.stat()
    except OSError:  # to be reported where the file is read
        return ()
    return found.st_size, found.st_mtime_ns


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


def _rows(table: Path | Uri, column: str) -> Iterator[Source]:
    try:
        from pyarrow import parquet, types
    except ImportError as error:
        raise InputError(f"{table}: needs pyarrow; pip install 'i3ad_jax[parquet]'") from error
    try:
        with _opened(table) as file, parquet.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            if column not in names:
                raise InputError(
                    f"--column {column}: {table} has only {', '.join(names) or 'no columns'}"
                )
            kind: Any = opened.schema_arrow.field(column).type
            if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
                return (Row(table, column, number) for number in range(opened.metadata.num_rows))
            if not (
                types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
            ):
                raise InputError(
                    f"--column {column}: holds {kind} in {table}; name one with the contents of"
                    " images' files, or with their paths or URIs"
                )
            values = opened.read(columns=[column]).column(0).to_pylist()
    except InputError:
        raise
    except Exception as error:  # of the file system or pyarrow's
        raise InputError(
            f"{table}: cannot be read ({reason_of(error)}); replace the file"
        ) from error
    if not all(values):
        raise InputError(
            f"{table}: row {values.index(next(x for x in values if not x))}: {column} is empty"
        )
    return (_beside(table, value) for value in values)


def _beside(table: Path | Uri, name: str) -> Path | Uri:
    """The file that a table names, by a URI or relative to the table.

    Raises:
        InputError: a URI is a chain such as `reference://x::https://y`. By one a table could have
            fsspec build any file system, and before version 2026.6 run a template.
    """
    if "::" in name and ("://" in name or isinstance(table, Uri)):
        raise InputError(f"{table}: {name}: is a chain of URIs; a table may name single ones")
    if "://" in name:
        return Uri(name)
    if isinstance(table, Uri):
        return Uri(f"{table.uri.rpartition('/')[0]}/{name}")
    return table.parent / name


def _below(uri: str) -> list[Uri]:
    """The file itself, or the images in a folder, sorted."""
    system, path = _file_system(uri)
    try:
        if system.isfile(path):
            return [Uri(uri)]
        found = [name for name in system.find(path) if _is_image(PurePosixPath(name), path)]
    except Exception as error:  # file systems raise nearly any type
        raise InputError(f"{uri}: cannot be read ({reason_of(error)})") from error
    if not found:
        raise InputError(
            f"{uri}: no such file, nor a folder with {', '.join(sorted(SUFFIXES))} in it"
        )
    return [Uri(system.unstrip_protocol(name)) for name in sorted(found)]


def _is_image(file: PurePosixPath, folder: str) -> bool:
    """Return whether a file below a folder is an image by the rules of `search`."""
    inside = file.parts[len(PurePosixPath(folder).parts) :]
    return is_image(file) and not any(map(is_ignored, inside))


def _file_system(uri: str) -> tuple[Any, str]:
    """File system by which fsspec reads such a URI, and the path there."""
    try:
        import fsspec
    except ImportError as error:
        raise InputError(f"{uri}: needs fsspec; pip install fsspec") from error
    try:
        return fsspec.url_to_fs(uri)
    except Exception as error:  # an unknown protocol, a package that it needs, its own settings
        raise InputError(f"{uri}: cannot be opened ({reason_of(error)})") from error


@contextmanager
def _opened(table: Path | Uri) -> Iterator[Any]:
    if isinstance(table, Path):
        with open_file(table) as file:
            yield file
    else:
        system, path = _file_system(table.uri)
        with system.open(path, "rb") as file:
            yield file

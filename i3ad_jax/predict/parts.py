"""A table of predictions in parts, each a Parquet file with the rows of one block of images.

A part appears whole or not at all and depends on its block alone, whoever scores it. A block that
is scored again replaces its part, and the existing parts tell which are missing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from i3ad_jax.errors import InputError, optional_package
from i3ad_jax.predict.names import NamedSource
from i3ad_jax.predict.results import PredictionFiles, Summary
from i3ad_jax.predict.scorer import Scorer
from i3ad_jax.runs.files import write_json
from i3ad_jax.runtime.disk import make_folder, put

_PARTS = 1000


class Block(NamedTuple):
    """Images that are scored together into one part.

    Attributes:
        number: of the part.
        images: in order.
    """

    number: int
    images: Sequence[NamedSource]


def images_a_part(images: int, *, chunk: int) -> int:
    """A multiple of `chunk`, the least of which there are at most 1,000 parts of `images`."""
    return chunk * math.ceil(images / (chunk * _PARTS))


def cut(images: Sequence[NamedSource], *, size: int) -> list[Block]:
    """Blocks of `size` images, in order; the last one may have fewer."""
    return [
        Block(number, images[first : first + size])
        for number, first in enumerate(range(0, len(images), size))
    ]


def check_packages() -> None:
    """Raise InputError unless the package that writes parts is installed."""
    optional_package("pyarrow", "--engine: needs pyarrow; pip install 'i3ad_jax[parquet]'")


class PredictionParts:
    """The folder of a table in parts.

    Attributes:
        path: of the table: `predictions/part-000000.parquet` and so on.
    """

    def __init__(self, results: PredictionFiles) -> None:
        self.results = results
        self.path = results.parts

    def begin(self, about: Mapping[str, Any]) -> None:
        """Make the folder of a new prediction, or continue the same one.

        Args:
            about: JSON values that say what the table belongs to.

        Raises:
            InputError: the folder has files of another prediction.
        """
        self.results.begin(about, resume=True)
        make_folder(self.path)

    def missing(self, blocks: Iterable[Block]) -> list[Block]:
        """The blocks whose parts are missing."""
        return [block for block in blocks if not self._file(block.number).exists()]

    def write(self, block: Block, rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> None:
        """Writes the part of a block.

        Args:
            block: block of the part.
            rows: as `Scorer.rows` gives them.
            columns: their names.
        """
        import pyarrow
        from pyarrow import parquet

        texts = ("path", "unusable", "regions", "map", "picture", "error")
        kinds = {**dict.fromkeys(texts, pyarrow.string()), "anomalous": pyarrow.int8()}
        schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in columns])
        values = [dict(zip(columns, row, strict=True)) for row in rows]
        file = self._file(block.number)
        # another machine may write this part too
        temporary = file.with_name(f".{file.name}.{uuid4().hex}")
        parquet.write_table(pyarrow.Table.from_pylist(values, schema=schema), temporary)
        put(temporary, file)

    def finish(self, about: Mapping[str, Any], blocks: Sequence[Block]) -> Summary:
        """Count the rows of all parts, note it beside `about` and remove what killed workers left.

        Raises:
            InputError: a part is missing or has not a row for each image of its block.
        """
        from pyarrow import parquet

        counts = []
        for block in blocks:
            file = self._file(block.number)
            try:
                table = parquet.read_table(file, columns=["anomalous", "unusable", "error"])
            except Exception as error:  # of the file system or pyarrow's
                raise InputError(f"{file}: cannot be read; remove it and start again") from error
            if len(table) != len(block.images):
                raise InputError(f"{file}: has {len(table)} rows; remove it and start again")
            counts.append(Summary.of(table.to_pylist()))
        for left in self.path.glob(".part-*"):
            left.unlink(missing_ok=True)
        summary = Summary(*map(sum, zip(*counts, strict=True)))
        write_json(self.results.about, {**about, **summary._asdict()})
        return summary

    def _file(self, number: int) -> Path:
        return self.path / f"part-{number:06}.parquet"


class BlockScorer:
    """Scores blocks and writes their parts, by one detector."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._parts = PredictionParts(scorer.results)

    def score(self, block: Block) -> int:
        """Writes the part of a block; returns how many images it has.

        Raises:
            InputError: an image cannot be used and the options are strict.
        """
        self._parts.write(block, self._scorer.rows(block.images), self._scorer.columns)
        return len(block.images)

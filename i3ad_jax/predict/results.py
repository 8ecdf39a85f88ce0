"""Files that `predict` writes: a table that grows row by row, anomaly maps and pictures.

`predictions.partial.csv` has the rows of a prediction that is at work or was interrupted, and
`predictions.json` says what they belong to. A folder holds the files of one prediction.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, PngImagePlugin

from i3ad_jax.data.search import PREDICTION, RESULT_FOLDERS
from i3ad_jax.errors import InputError
from i3ad_jax.pictures import GAP
from i3ad_jax.prediction import Prediction
from i3ad_jax.runs.files import read_json, write_array, write_json, write_picture, write_text
from i3ad_jax.runtime.disk import make_folder, put, remove_unfinished, whole

MapFormat = Literal["npy", "npz", "png"]
PICTURE_SUFFIX = ".jpg"
UNUSABLE = "#0072b2"
"""Colour of the border of unusable pictures."""


class Summary(NamedTuple):
    """Numbers of images in a prediction.

    Attributes:
        scored: all but the broken ones.
        anomalous: of these, those above the threshold that are usable.
        unusable: of these, those taken unlike the normal images.
        broken: images without a score.
    """

    scored: int
    anomalous: int
    unusable: int
    broken: int

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "Summary":
        """Count rows with the columns `anomalous`, `unusable` and `error`, as text or not."""
        scored = anomalous = unusable = broken = 0
        for row in rows:
            broken += bool(row["error"])
            scored += not row["error"]
            unusable += bool(row["unusable"])
            anomalous += row["anomalous"] in (1, "1")
        return cls(scored, anomalous, unusable, broken)


class PredictionFiles:
    """The folder of a prediction.

    Attributes:
        table: the finished table, one row for each image in the order given.
        partial: its rows so far, while a prediction runs or after it was interrupted.
        parts: folder of a table in parts, instead of a single one.
        about: origin of the table, and a summary once it is finished.
        maps, pictures: folders with a file for each image, in sub-folders as the images have them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.table = path / "predictions.csv"
        self.partial = path / "predictions.partial.csv"
        self.parts = path / "predictions"
        self.about = path / PREDICTION
        self.maps, self.pictures = (path / name for name in RESULT_FOLDERS)

    def begin(self, about: Mapping[str, Any], *, resume: bool) -> None:
        """Take the folder for a prediction.

        Files that do not belong to a prediction may be there.

        Args:
            about: JSON values that say what the table belongs to.
            resume: continue the same prediction if there is one.

        Raises:
            InputError: the folder has files of a prediction that is not to be resumed, or of
                another one.
        """
        used = self._used()
        if used and not resume:
            raise InputError(
                f"--out {self.path}: holds {used} already; continue the same prediction with"
                " --resume, or name another --out"
            )
        if used and not self._belongs_to(about):
            raise InputError(
                f"--out {self.path}: holds {used} of another run, other options, other images or"
                " another device; give the same ones to continue, or name another --out"
            )
        if used:
            for folder in (self.maps, self.pictures):
                remove_unfinished(folder.rglob("*"))
        else:
            make_folder(self.path)
            write_json(self.about, about)

    def finished(self) -> bool:
        """Return whether the table is there and no row is missing."""
        return self.table.exists() and not self.partial.exists()

    @contextmanager
    def growing_table(self, header: Sequence[str], *, unit: int) -> Iterator["GrowingTable"]:
        """A table to add rows to, which becomes `table` at the end of the block unless it fails.

        The rows of an interrupted prediction are kept.

        Args:
            header: names of the columns.
            unit: rows are kept in multiples of this.
        """
        rows: list[list[str]] = []
        if self.partial.exists():
            rows = _complete_rows(self.partial, len(header))[1:]
            rows = rows[: len(rows) // unit * unit]
        write_text(self.partial, _as_csv([header, *rows]))
        with self.partial.open("a", encoding="utf-8", newline="") as file:
            yield GrowingTable(file, kept=len(rows))
        put(self.partial, self.table)

    def read_table(self) -> list[dict[str, str]]:
        """The rows of the finished table by their columns."""
        with self.table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def write_map(
        self, name: str, anomaly_map: Float[np.ndarray, "height width"], map_format: MapFormat
    ) -> str:
        """Write a map to `maps/NAME`: .npy, float32; or .npz, the array anomaly_map; or .png.

        A .npz is compressed. A PNG has 16 bits: 0 and 65535 stand for the values that its text
        entries minimum and maximum name.

        Returns:
            The file's path relative to the folder, with forward slashes.
        """
        file = self.maps / f"{name}.{map_format}"
        make_folder(file.parent)
        match map_format:
            case "npy":
                write_array(file, anomaly_map)
            case "npz":
                with whole(file) as temporary:
                    np.savez_compressed(temporary, anomaly_map=anomaly_map)
            case "png":
                low, high = float(anomaly_map.min()), float(anomaly_map.max())
                values = (anomaly_map - low) * (65535 / max(high - low, np.finfo(np.float32).tiny))
                text = PngImagePlugin.PngInfo()
                text.add_text("minimum", repr(low))
                text.add_text("maximum", repr(high))
                picture = Image.fromarray(values.round().astype(np.uint16))
                write_picture(file, picture, pnginfo=text, compress_level=1)
        return file.relative_to(self.path).as_posix()

    def write_picture(self, name: str, prediction: Prediction) -> str:
        """Write `pictures/NAME.jpg`: `Prediction.picture`, of an unusable one with a blue border.

        Returns:
            The file's path relative to the folder, with forward slashes.

        Raises:
            InputError: the image's file has changed since it was scored.
        """
        file = self.pictures / f"{name}{PICTURE_SUFFIX}"
        make_folder(file.parent)
        picture = prediction.picture
        if prediction.unusable is not None:
            corner = picture.width - 1, picture.height - 1
            ImageDraw.Draw(picture).rectangle(((0, 0), corner), outline=UNUSABLE, width=GAP)
        write_picture(file, picture, quality=90)
        return file.relative_to(self.path).as_posix()

    def _used(self) -> str | None:
        """The name of a file or folder of a prediction that is there; None in a free folder."""
        for file in (self.about, self.table, self.partial):
            if file.exists():
                return file.name
        for folder in (self.parts, self.maps, self.pictures):
            if folder.is_dir() and any(folder.iterdir()):
                return f"{folder.name}/"
        return None

    def _belongs_to(self, about: Mapping[str, Any]) -> bool:
        """Return whether the files there belong to the same prediction."""
        if not self.about.exists():
            return False
        stored = read_json(self.about)
        return {key: stored[key] for key in stored if key not in Summary._fields} == about


class GrowingTable:
    """A CSV file to which rows are added one by one.

    Attributes:
        kept: number of rows that were there before.
    """

    def __init__(self, file: TextIO, *, kept: int) -> None:
        self._file = file
        self.kept = kept

    def add(self, row: Sequence[object]) -> None:
        """Add a row, which survives the process's end; a power cut may take the newest rows."""
        self._file.write(_as_csv([row]))
        self._file.flush()


def _as_csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _complete_rows(file: Path, columns: int) -> list[list[str]]:
    """The rows of a table before the first that is damaged: a last one may have been cut short."""
    text = file.read_bytes().decode("utf-8", "ignore")  # it may end within a character
    rows = list(csv.reader(io.StringIO(text, newline="")))
    rows = rows if text.endswith("\r\n") else rows[:-1]
    return list(takewhile(lambda row: len(row) == columns, rows))

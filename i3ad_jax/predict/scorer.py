"""Images in, rows of a table out; maps and pictures are written on the way."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Literal

from i3ad_jax.data.inputs import Broken
from i3ad_jax.data.sources import Reader
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.predict.names import NamedSource
from i3ad_jax.predict.results import MapFormat, PredictionFiles
from i3ad_jax.prediction import Prediction
from i3ad_jax.settings import Settings

Row = tuple[str | float | None, ...]
_WRITERS = 2
_WAITING = 8  # results that may wait for a writer, each with a map in the size of its image


@dataclass(frozen=True)
class Options(Settings):
    """Settings of the output, and of broken images and interrupted predictions."""

    save: tuple[Literal["scores", "maps", "pictures"], ...] = ("scores", "pictures")
    """Output: the table in any case; maps/, anomaly maps in the size of the image; pictures/, the
    image, its regions outlined, and its heat map side by side, JPEG."""
    map_format: MapFormat = "npy"
    """Format of the maps: npy, float32; npz, the same compressed; png, 16 bits from the map's
    minimum to its maximum, which the file's text entries name."""
    strict: bool = False
    """Stop at the first image that cannot be used, instead of noting it in the column error."""
    resume: bool = False
    """Continue the same prediction in OUT, as the engines blocks and ray always do."""


@dataclass(frozen=True)
class Scorer:
    """Makes rows of the table of predictions.

    Attributes:
        detector: scores the images.
        options: say what is written.
        results: folder of the maps and pictures.
        reader: reads images in Parquet files.
    """

    detector: Detector
    options: Options
    results: PredictionFiles
    reader: Reader = field(default_factory=Reader)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the table's columns, those of the scores among them.

        `anomalous` is 1 or 0, and empty for an unusable picture, of which `unusable` has the
        reason. `regions` is a JSON list; `map` and `picture` are paths of files relative to the
        folder of the results.
        """
        scores = self.detector.calibration.held_out_scores
        verdict = ("anomalous", "unusable", "regions")
        return ("path", *scores, *verdict, "map", "picture", "error")

    def rows(self, images: Sequence[NamedSource]) -> Iterator[Row]:
        """Yield the row of each image, in order, after its map and picture are written.

        Reading, the detector's program, and drawing and writing go on at the same time, in bounded
        memory. A row has None where it has no value: the scores of an image that cannot be used,
        the error of another.

        Raises:
            InputError: an image cannot be used and `options.strict` is set.
        """
        waiting: deque[Future[Row]] = deque()
        writers = ThreadPoolExecutor(max_workers=_WRITERS)
        opened = self.reader.opened(image.source for image in images)
        try:
            for image, found in zip(images, self.detector.attempt(opened), strict=True):
                if isinstance(found, Broken) and self.options.strict:
                    raise InputError(found.problem)
                waiting.append(writers.submit(self._finish, image.name, found))
                if len(waiting) > _WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            writers.shutdown(cancel_futures=True)

    def _finish(self, name: str, found: Prediction | Broken) -> Row:
        """Write the map and the picture of an image, and return its row."""
        row: dict[str, str | float] = {"path": found.name}
        if isinstance(found, Broken):
            row["error"] = found.problem
        else:
            row |= found.scores
            if found.unusable is None:
                row["anomalous"] = int(found.verdict == "anomalous")
            else:
                row["unusable"] = found.unusable
            if found.rule.pixel_threshold is not None:
                row["regions"] = json.dumps([asdict(region) for region in found.regions])
            if "maps" in self.options.save:
                row["map"] = self.results.write_map(name, found.map, self.options.map_format)
            if "pictures" in self.options.save:
                row["picture"] = self.results.write_picture(name, found)
        return tuple(map(row.get, self.columns))

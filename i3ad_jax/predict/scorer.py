"""Images in, rows of a table out; maps and pictures are written on the way."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

from i3ad_jax.data.inputs import Broken, ImageLike
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.predict.results import MapFormat, PredictionFiles
from i3ad_jax.prediction import Prediction
from i3ad_jax.runtime.disk import make_folder
from i3ad_jax.settings import Settings

Row = tuple[str | float | None, ...]
_WRITERS = 2
_WAITING = 8  # results that may wait for a writer, each with a map in the size of its image


@dataclass(frozen=True)
class Options(Settings):
    """What is written, and what happens to broken images and interrupted predictions."""

    save: tuple[Literal["scores", "maps", "pictures"], ...] = ("scores", "pictures")
    """What is written: the table in any case; maps/, anomaly maps in the size of the image;
    pictures/, the image under its heat map, JPEG."""
    map_format: MapFormat = "npy"
    """Of the maps: npy, float32; npz, the same compressed; png, 16 bits from the map's minimum to
    its maximum, which the file's text entries name."""
    strict: bool = False
    """Stop at the first image that cannot be used, instead of noting it in the column error."""
    resume: bool = False
    """Go on where the same prediction was interrupted, as the engines blocks and ray always do."""


@dataclass(frozen=True)
class Scorer:
    """Makes rows of the table of predictions.

    Attributes:
        detector: scores the images.
        options: say what is written.
        results: folder of the maps and pictures.
    """

    detector: Detector
    options: Options
    results: PredictionFiles

    @property
    def columns(self) -> tuple[str, ...]:
        """Names: path, every score, anomalous (1 or 0), regions (a JSON list), error."""
        return ("path", *self.detector.calibration.held_out_scores, "anomalous", "regions", "error")

    def rows(self, images: Iterable[ImageLike], names: Sequence[str]) -> Iterator[Row]:
        """The row of each image, in order, after its map and picture are written.

        Reading, the detector's program, and drawing and writing go on at the same time, in bounded
        memory. A row has None where it has no value: the scores of an image that cannot be used,
        the error of another.

        Args:
            images: as `Detector.attempt` takes them.
            names: of their maps and pictures.

        Raises:
            InputError: an image cannot be used and `options.strict` is set.
        """
        waiting: deque[Future[Row]] = deque()
        for folder in {"maps", "pictures"} & set(self.options.save):
            make_folder(self.results.path / folder)
        writers = ThreadPoolExecutor(max_workers=_WRITERS)
        try:
            for name, found in zip(names, self.detector.attempt(images), strict=True):
                if isinstance(found, Broken) and self.options.strict:
                    raise InputError(found.problem)
                waiting.append(writers.submit(self._finish, name, found))
                if len(waiting) > _WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            writers.shutdown(cancel_futures=True)

    def _finish(self, name: str, found: Prediction | Broken) -> Row:
        """Write the map and the picture of an image, and return its row."""
        if isinstance(found, Broken):
            return (found.name, *[None] * (len(self.columns) - 2), found.problem)
        if "maps" in self.options.save:
            self.results.write_map(name, found.map, self.options.map_format)
        if "pictures" in self.options.save:
            self.results.write_picture(name, found)
        regions = None
        if found.rule.pixel_threshold is not None:
            regions = json.dumps([asdict(region) for region in found.regions])
        return (found.name, *found.scores.values(), int(found.is_anomalous), regions, None)

# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`Inference`: the half of a detector that scores images."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from i3ad_jax.calibration.calibration import Calibration, plain_anomaly_maps
from i3ad_jax.calibration.verdict import DEFAULT_VERDICT, Rule, VerdictSettings
from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.inputs import Broken, ImagesLike, Picture, try_pictures
from i3ad_jax.data.stored import Rows, zeros
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.refine import STATE_VALUES
from i3ad_jax.methods.fitting import within_memory
from i3ad_jax.methods.method import Method
from i3ad_jax.plan import Plan
from i3ad_jax.prediction import Prediction, Trace
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runtime.configuration import configuration, configured
from i3ad_jax.runtime.memory import allowed
from i3ad_jax.runtime.processes import gathered
from i3ad_jax.runtime.progress import progress_bar
from i3ad_jax.runtime.queues import ProgressBar
from i3ad_jax.scoring.maps import AnomalyMaps


@dataclass(frozen=True, eq=False, repr=False)
class Inference:
    """Scores, maps and reconstructions of images; attributes as of `Detector`."""

    plan: Plan
    state: object
    calibration: Calibration
    verdict: VerdictSettings = DEFAULT_VERDICT

    @property
    def config(self) -> Config[Any, Any]:
        """Settings, with every automatic choice made."""
        return self.plan.config

    @property
    def method(self) -> Method:
        """The method with its networks."""
        return self.plan.method

    @property
    def preprocessing(self) -> Preprocessing:
        """Mapping from pixels to the networks' input."""
        return self.plan.preprocessing

    @property
    def files(self) -> TrainingFiles:
        """Images that were trained on, and those reserved for calibration."""
        return self.plan.files

    @cached_property
    def rule(self) -> Rule:
        """Score and threshold that decide whether an image is anomalous."""
        return Rule.of(self.calibration, self.verdict)

    @property
    def thresholds(self) -> dict[str, float]:
        """Threshold of every score; of the one that decides, the rule's."""
        return {**self.calibration.thresholds, self.rule.score: self.rule.threshold}

    def score(self, images: ImagesLike) -> list[Prediction]:
        """Scores, anomaly maps and verdicts.

        Args:
            images: a path of a file or folder, the content of a file as bytes, an array, a Pillow
                picture, or an iterable of these. Arrays are uint8 or uint16 and of any size: `h w`,
                `h w 1`, `h w 3`, `h w 4`, or a batch `n h w c`.

        Raises:
            InputError: an image cannot be used; the message names its path or position.
        """
        return list(self.stream(images))

    def stream(self, images: ImagesLike) -> Iterator[Prediction]:
        """Yield the results of `score`, image by image as it comes, in bounded memory."""
        for found in self.attempt(images):
            if isinstance(found, Broken):
                raise InputError(found.problem)
            yield found

    def attempt(self, images: ImagesLike) -> Iterator[Prediction | Broken]:
        """Yield predictions as `stream` does, and for each unusable image what is wrong with it.

        The images after it follow. Two lists of `chunk` images in the working size are in memory at
        a time.
        """
        data = self.config.data
        for pictures in try_pictures(
            images,
            size=self.preprocessing.size,
            aspect=data.aspect,
            chunk=self.chunk,
            bit_depth=data.reading.bit_depth,
        ):
            usable = [picture for picture in pictures if isinstance(picture, Picture)]
            predictions = self._predictions(usable) if usable else iter(())
            for picture in pictures:
                yield next(predictions) if isinstance(picture, Picture) else picture

    @configured
    def score_split(
        self, split: Split, *, memory: int | None = None, progress: bool = False
    ) -> tuple[dict[str, Float[Rows, "n h w"]], dict[str, Float[np.ndarray, " n"]]]:
        """Return anomaly maps and image scores of a split, by score.

        Args:
            split: images of the working size.
            memory: bytes that the maps may take in memory, by default half of what is free; more
                are kept in a temporary file.
            progress: show a progress bar.
        """
        # All processes make the same calls.
        queue_size = min(gathered(self.method.throughput.queue_size))
        together = self.preprocessing.tiling.images_for(queue_size)
        names = self.method.score_names
        shape = (len(split), *split.images.shape[1:3])
        in_memory = 4 * math.prod(shape) * len(names) <= allowed(memory)
        maps = {name: zeros(shape, np.float32, in_memory=in_memory) for name in names}
        scores = {name: np.empty(len(split)) for name in names}
        with progress_bar("test", len(split), unit="image", disable=not progress) as bar:
            for first in range(0, len(split), together):
                part = slice(first, first + together)
                found = self.anomaly_maps(split.images[part], bar=bar)
                for name, own in self.calibration.image_scores(found).items():
                    maps[name][part], scores[name][part] = found[name], own
        return maps, scores

    @property
    def chunk(self) -> int:
        """Number of images that are scored together."""
        return self.preprocessing.tiling.images_in(self.method.throughput.queue_size)

    @configured
    def _predictions(self, pictures: Sequence[Picture]) -> Iterator[Prediction]:
        maps = self.anomaly_maps(np.stack([picture.pixels for picture in pictures]))
        scores = self.calibration.image_scores(maps)
        problems = self._problems(pictures)
        for i, picture in enumerate(pictures):
            values = {name: float(own[i]) for name, own in scores.items()}
            yield Prediction(
                name=picture.name,
                scores=values,
                rule=self.rule,
                thresholds=self.calibration.thresholds,
                source=picture.source,
                original_size=picture.original_size,
                small_maps={name: own[i] for name, own in maps.items()},
                aspect=self.config.data.aspect,
                bit_depth=self.config.data.reading.bit_depth,
                unusable=problems[i],
            )

    def _problems(self, pictures: Sequence[Picture]) -> Sequence[str | None]:
        """Return why each picture is unusable; None if it is usable or this is not checked."""
        acquisition = self.plan.acquisition
        if acquisition is None or not self.verdict.marks_unusable:
            return [None] * len(pictures)
        pixels = np.stack([picture.pixels for picture in pictures])
        return acquisition.problems(pixels, [picture.original_size for picture in pictures])

    def reconstruct(self, images: ImagesLike) -> UInt8[np.ndarray, "n h w 3"]:
        """The reconstructions of images, as `score` takes them, in the working size."""
        pixels = self._resized(images)
        with configuration():
            found: Any = within_memory(
                self.method,
                lambda method: self.preprocessing.apply(
                    lambda queue, count: (
                        method.predict(
                            self.state, self.calibration.tuned, queue, count
                        ).reconstructions
                    ),
                    pixels,
                    queue_size=method.throughput.queue_size,
                ),
            )
            return self.preprocessing.pictures(found, pixels)

    def trace(self, images: ImagesLike) -> Trace:
        """Every state of the test-time loop for images, as `score` takes them."""
        return self.trace_pixels(self._resized(images))

    @configured
    def anomaly_maps(
        self, images: UInt8[np.ndarray, "n h w 3"], *, bar: ProgressBar | None = None
    ) -> AnomalyMaps:
        """Return every score's map for images of the working size; each moves `bar`, if any."""
        trained = self.plan.trained(self.state, step=self.calibration.step)
        plain = plain_anomaly_maps(trained, self.calibration.tuned, images, bar=bar)
        return self.calibration.complete(plain)

    @configured
    def trace_pixels(self, images: UInt8[np.ndarray, "n h w 3"]) -> Trace:
        """Return the results of `trace` for images of the working size."""
        traced = len(images) * len(self.preprocessing.tiling.corners)
        states: Any = within_memory(
            self.method,
            lambda method: self.preprocessing.apply(
                lambda queue, count: method.trace(
                    self.state, self.calibration.tuned, queue, count
                ).with_states_last(),
                images,
                queue_size=min(traced, method.throughput.queue_size),
                values=STATE_VALUES * len(method.trace_iterations),
            ),
        )
        reconstructions = [
            self.preprocessing.pictures(states.images[..., i, :], images)
            for i in range(states.images.shape[3])
        ]
        return Trace(
            np.stack(reconstructions, axis=1),
            np.moveaxis(states.masks[..., 0] > 0.5, 3, 1),
            np.moveaxis(states.scores, 3, 1),
            tuple(self.method.trace_iterations),
        )

    def _resized(self, images: ImagesLike) -> UInt8[np.ndarray, "n h w 3"]:
        """Images as `score` takes them, in the working size."""
        return self.config.data.split_of(images, size=self.preprocessing.size).images[:]

    def __repr__(self) -> str:
        side, (height, width) = self.preprocessing.side, self.preprocessing.size
        seen = "whole images" if self.preprocessing.whole else f"tiles of {side} x {side}"
        return (
            f"{type(self).__name__}({self.config.method}, {seen} of {height} x {width},"
            f" {len(self.files.trained)} trained, {len(self.files.calibration_set)} calibrated,"
            f" {self.rule.score} > {self.rule.threshold:.4g})"
        )

    def _repr_html_(self) -> str:
        lines = [*self.plan.describe(), self.rule.describe()]
        if self.calibration.problem:
            lines.append(self.calibration.problem)
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        return f"<p>{type(self).__name__}: {escape(self.config.method)}</p><ul>{items}</ul>"

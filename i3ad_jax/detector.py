"""`Detector`: a method, its settings, its weights and its calibration in one object."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from i3ad_jax.calibration import Calibration, calibrate, plain_anomaly_maps
from i3ad_jax.config import DEFAULT_PRESET, Config, default_config
from i3ad_jax.data.inputs import Broken, ImageLike, ImagesLike, Picture, try_pictures
from i3ad_jax.data.load import ARRAYS, absolute_source
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.errors import InputError
from i3ad_jax.fit import last_step
from i3ad_jax.methods.method import Method
from i3ad_jax.prediction import Prediction, Trace
from i3ad_jax.preparation import as_split, load_train, prepare
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.maps import AnomalyMaps
from i3ad_jax.settings import Settings
from i3ad_jax.weights import load_weights


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained and calibrated detector.

    Attributes:
        config: all settings.
        state: the weights, and what training needs to go on.
        calibration: what held-out normal images taught.
        files: which images were trained on and which held out.
        preprocessing: what the networks see of an image.
    """

    config: Config[Settings, Settings]
    state: object
    calibration: Calibration
    files: TrainingFiles
    preprocessing: Preprocessing

    @classmethod
    def fit(
        cls,
        images: ImagesLike,
        *,
        method: str = "i3ad",
        preset: str = DEFAULT_PRESET,
        devices: int | None = None,
        progress: bool = False,
        **settings: int | float | bool | str | tuple[int, ...] | None,
    ) -> "Detector":
        """Trains and calibrates on normal images alone.

        Args:
            images: a data set as `--data` takes it, of which only the normal training images are used; or the
                images themselves, as `score` takes them.
            method: one of `i3ad_jax.methods.METHODS`.
            preset: defaults of all other settings: standard, quick or paper.
            devices: that share every batch of the training, by default one; on a CPU one has all cores.
            progress: show progress bars.
            settings: any other option of `python -m i3ad_jax.train`, with underscores for dashes.

        Raises:
            InputError: a setting or an image cannot be used, or training diverged.
        """
        config = default_config(method, preset=preset).with_settings(settings)
        if isinstance(images, str | Path):
            config = config.with_settings({"data": absolute_source(str(images))})
            prepared = prepare(config, lambda size: load_train(config, size=size, progress=progress))
        else:
            config = config.with_settings({"data": ARRAYS})
            given = images if isinstance(images, ImageLike) else list(images)
            prepared = prepare(config, lambda size: as_split(given, config, size))
        last = last_step(
            prepared.config.build(),
            prepared.images.images,
            preprocessing=prepared.preprocessing,
            augment=prepared.config.preprocessing.augment,
            seed=config.seed,
            devices=devices,
            progress=progress,
        )
        return cls.calibrated(
            prepared.config,
            last.state,
            prepared.files,
            prepared.held_out.images[:],
            preprocessing=prepared.preprocessing,
            step=last.number,
            progress=progress,
        )

    @classmethod
    def calibrated(
        cls,
        config: Config[Settings, Settings],
        state: object,
        files: TrainingFiles,
        held_out: UInt8[np.ndarray, "n h w 3"],
        *,
        preprocessing: Preprocessing,
        step: int,
        progress: bool = False,
    ) -> "Detector":
        """A detector of weights that were trained for `step` steps, calibrated on held-out normal images.

        The images are of the working size.
        """
        calibration = calibrate(
            config.build(),
            state,
            held_out,
            preprocessing=preprocessing,
            scoring=config.scoring,
            seed=config.seed,
            step=step,
            progress=progress,
        )
        return cls(config, state, calibration, files, preprocessing)

    @cached_property
    def method(self) -> Method:
        """The method, with its networks."""
        return self.config.build()

    def recalibrated(
        self,
        held_out: ImagesLike,
        *,
        method: str | None = None,
        progress: bool = False,
        **settings: int | float | bool | str | tuple[int, ...] | None,
    ) -> "Detector":
        """The same weights under other settings of the test, calibrated anew.

        Args:
            held_out: normal images that served no training step, as `score` takes them.
            method: another method that takes these weights, such as l2_ae_projection for those of l2_ae.
            progress: show progress bars.
            settings: options of `python -m i3ad_jax.evaluate`, with underscores for dashes.

        Raises:
            InputError: a setting makes no sense or belongs to training, or an image cannot be used.
        """
        config = self.config.for_test(method or self.config.method, settings)
        return Detector.calibrated(
            config,
            self.state,
            self.files,
            self._resized(held_out),
            preprocessing=self.preprocessing,
            step=self.calibration.step,
            progress=progress,
        )

    def score(self, images: ImagesLike) -> list[Prediction]:
        """Scores, anomaly maps and verdicts.

        Args:
            images: a path of a file or folder, the content of a file as bytes, an array of any size (uint8 or
                uint16; `h w`, `h w 1`, `h w 3` or `h w 4`, or a batch `n h w c`), a Pillow picture, or an
                iterable of these.

        Raises:
            InputError: an image cannot be used; the message names its path or position.
        """
        return list(self.stream(images))

    def stream(self, images: ImagesLike) -> Iterator[Prediction]:
        """What `score` gives, image by image as it comes, in bounded memory."""
        for found in self.attempt(images):
            if isinstance(found, Broken):
                raise InputError(found.problem)
            yield found

    def attempt(self, images: ImagesLike) -> Iterator[Prediction | Broken]:
        """As `stream`; but an image that cannot be used yields what is wrong with it, and the others follow.

        Two lists of `chunk` images in the working size are in memory at a time.
        """
        for pictures in try_pictures(
            images, size=self.preprocessing.size, aspect=self.config.data.aspect, chunk=self.chunk
        ):
            usable = [picture for picture in pictures if isinstance(picture, Picture)]
            predictions = self._predictions(usable) if usable else iter(())
            for picture in pictures:
                yield next(predictions) if isinstance(picture, Picture) else picture

    @property
    def chunk(self) -> int:
        """How many images are scored together."""
        return max(self.config.throughput.queue_size // len(self.preprocessing.tiling.corners), 1)

    def _predictions(self, pictures: Sequence[Picture]) -> Iterator[Prediction]:
        maps = self.anomaly_maps(np.stack([picture.pixels for picture in pictures]))
        scores = self.calibration.image_scores(maps)
        for i, picture in enumerate(pictures):
            values = {name: float(own[i]) for name, own in scores.items()}
            yield Prediction(
                name=picture.name,
                scores=values,
                anomalous={name: x > self.calibration.thresholds[name] for name, x in values.items()},
                headline=self.calibration.headline,
                source=picture.source,
                original_size=picture.original_size,
                small_maps={name: own[i] for name, own in maps.items()},
                aspect=self.config.data.aspect,
            )

    def reconstruct(self, images: ImagesLike) -> UInt8[np.ndarray, "n h w 3"]:
        """The reconstructions of images, as `score` takes them, in the working size."""
        pixels = self._resized(images)
        found: Any = self.preprocessing.apply(
            lambda queue, count: (
                self.method.predict(self.state, self.calibration.tuned, queue, count).reconstructions
            ),
            pixels,
            queue_size=self.config.throughput.queue_size,
        )
        return self.preprocessing.pictures(found, pixels)

    def trace(self, images: ImagesLike) -> Trace:
        """Every state of the test-time loop for images, as `score` takes them."""
        return self.trace_pixels(self._resized(images))

    def anomaly_maps(self, images: UInt8[np.ndarray, "n h w 3"], *, bar: tqdm | None = None) -> AnomalyMaps:
        """The map of every score for images of the working size; each moves the bar on, if there is one."""
        plain = plain_anomaly_maps(
            self.method,
            self.state,
            self.calibration.tuned,
            images,
            preprocessing=self.preprocessing,
            step=self.calibration.step,
            bar=bar,
        )
        return self.calibration.complete(plain)

    def trace_pixels(self, images: UInt8[np.ndarray, "n h w 3"]) -> Trace:
        """What `trace` gives for images of the working size."""
        traced = len(images) * len(self.preprocessing.tiling.corners)
        states: Any = self.preprocessing.apply(
            lambda queue, count: self.method.trace(
                self.state, self.calibration.tuned, queue, count
            ).with_states_last(),
            images,
            queue_size=min(traced, self.config.throughput.queue_size),
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

    def save(self, folder: str | Path) -> None:
        """Writes a run folder, from which `load` and the commands read.

        Raises:
            InputError: there is a run already, or the folder cannot be written to.
        """
        run = RunFolder(Path(folder))
        with run.lock():
            run.create(self.config, self.files, self.preprocessing)
            with run.writing(), Checkpoints(run.checkpoints) as checkpoints:
                checkpoints.save(self.calibration.step, self.state)
            self.calibration.write(run)

    @classmethod
    def load(cls, folder: str | Path) -> "Detector":
        """The detector of a run, or of the results of another test of it.

        Raises:
            InputError: a file is missing, damaged, or does not fit the others.
        """
        run = RunFolder(Path(folder))
        config = run.read_config()
        files = run.read_files()
        preprocessing = run.read_preprocessing()
        step, state = load_weights(run, config)
        calibration = Calibration.read(
            run, method=config.build(), size=preprocessing.size, step=step, state=state
        )
        return cls(config, state, calibration, files, preprocessing)

    def _resized(self, images: ImagesLike) -> UInt8[np.ndarray, "n h w 3"]:
        """Images as `score` takes them, in the working size."""
        return as_split(images, self.config, self.preprocessing.size).images[:]

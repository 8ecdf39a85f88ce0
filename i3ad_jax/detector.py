"""`Detector`: a method, its settings, its weights and its calibration in one object."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from i3ad_jax.calibration.calibration import Calibration, calibrate, plain_anomaly_maps
from i3ad_jax.config import DEFAULT_PRESET, Config, default_config
from i3ad_jax.data.inputs import Broken, ImageLike, ImagesLike, Picture, as_split, try_pictures
from i3ad_jax.data.load import ARRAYS, absolute_source
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import Method
from i3ad_jax.plan import Plan, resolve
from i3ad_jax.prediction import Prediction, Trace
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runs.calibration_file import read_calibration, write_calibration
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runs.weights import load_weights
from i3ad_jax.scoring.maps import AnomalyMaps
from i3ad_jax.training.steps import last_step


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained and calibrated detector.

    Attributes:
        plan: settings, what the networks see of an image, and the images of training and calibration.
        state: weights, and the state of the optimisers.
        calibration: what the calibration images taught.
    """

    plan: Plan
    state: object
    calibration: Calibration

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
            read = lambda size: config.data.load(size=size, progress=progress).train  # noqa: E731
        else:
            config = config.with_settings({"data": ARRAYS})
            given = images if isinstance(images, ImageLike) else list(images)
            read = lambda size: as_split(given, size=size, aspect=config.data.aspect)  # noqa: E731
        resolved = resolve(config, read)
        plan = resolved.plan
        last = last_step(
            plan.method,
            resolved.images.images,
            preprocessing=plan.preprocessing,
            augment=config.preprocessing.augment,
            seed=config.seed,
            devices=devices,
            progress=progress,
        )
        held_out = resolved.held_out.images[:]
        return cls.calibrated(plan, last.state, held_out, step=last.number, progress=progress)

    @classmethod
    def calibrated(
        cls,
        plan: Plan,
        state: object,
        held_out: UInt8[np.ndarray, "n h w 3"],
        *,
        step: int,
        progress: bool = False,
    ) -> "Detector":
        """A detector of weights that were trained for `step` steps, calibrated on held-out normal images.

        The images are of the working size.
        """
        calibration = calibrate(
            plan.method,
            state,
            held_out,
            preprocessing=plan.preprocessing,
            scoring=plan.config.scoring,
            seed=plan.config.seed,
            step=step,
            progress=progress,
        )
        return cls(plan, state, calibration)

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
        asked = self.plan.asked.for_test(method or self.config.method, settings)
        return Detector.calibrated(
            self.plan.with_asked(asked),
            self.state,
            self._resized(held_out),
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
            run.create(self.plan)
            with run.writing(), Checkpoints(run.checkpoints) as checkpoints:
                checkpoints.save(self.calibration.step, self.state)
            write_calibration(self.calibration, run)

    @classmethod
    def load(cls, folder: str | Path) -> "Detector":
        """The detector of a run, or of the results of another test of it.

        Raises:
            InputError: a file is missing, damaged, or does not fit the others.
        """
        run = RunFolder(Path(folder))
        plan = run.read_plan()
        step, state = load_weights(run, plan.method)
        size = plan.preprocessing.size
        calibration = read_calibration(run, method=plan.method, size=size, step=step, state=state)
        return cls(plan, state, calibration)

    def _resized(self, images: ImagesLike) -> UInt8[np.ndarray, "n h w 3"]:
        """Images as `score` takes them, in the working size."""
        size, aspect = self.preprocessing.size, self.config.data.aspect
        return as_split(images, size=size, aspect=aspect).images[:]

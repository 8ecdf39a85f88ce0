"""`Detector`: a method, its settings, its weights and its calibration in one object."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from i3ad_jax.calibration import Calibration, calibrate, plain_anomaly_maps, scores_of
from i3ad_jax.config import Config, default_config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.inputs import ImagesLike, as_pictures
from i3ad_jax.data.load import ARRAYS, absolute_source, load_dataset
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.errors import InputError
from i3ad_jax.fit import Step, state_shapes, training_steps
from i3ad_jax.methods.method import Method, State
from i3ad_jax.prediction import Prediction, Trace
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.queues import by_queues
from i3ad_jax.scoring.maps import AnomalyMaps
from i3ad_jax.settings import Settings
from i3ad_jax.shapes import to_uint8

CHECK_EVERY = 20  # steps between looks at the losses


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained and calibrated detector.

    Attributes:
        config: all settings.
        state: the weights, and what training needs to go on.
        calibration: what held-out normal images taught.
        files: which images were trained on and which held out.
    """

    config: Config[Settings, Settings]
    state: object
    calibration: Calibration
    files: TrainingFiles

    @classmethod
    def fit(
        cls,
        images: ImagesLike,
        *,
        method: str = "i3ad",
        preset: str = "quick",
        progress: bool = False,
        **settings: int | float | bool | str | tuple[int, ...] | None,
    ) -> "Detector":
        """Trains and calibrates on normal images alone.

        Args:
            images: a folder in MVTec layout, `textures:KIND` or `tfds:mvtec_ad/CATEGORY`, of which only the
                normal training images are used; or the images themselves, as `score` takes them.
            method: one of `i3ad_jax.methods.METHODS`.
            preset: defaults of all other settings: quick or paper.
            progress: show progress bars.
            settings: any option of `python -m i3ad_jax.train`, with underscores for dashes.

        Raises:
            InputError: a setting or an image cannot be used, or training diverged.
        """
        config = default_config(method, preset=preset).with_settings(settings)
        if isinstance(images, str | Path):
            config = config.with_settings({"data": absolute_source(str(images))})
            train = load_train(config, progress=progress)
        else:
            config = config.with_settings({"data": ARRAYS})
            train = _as_split(images, config)
        data = config.data
        files = TrainingFiles.choose(train, fraction=data.held_out, seed=config.seed)
        kept, held_out = files.select(train)
        last = _last_step(config, kept.images, progress=progress)
        return cls.calibrated(config, last.state, files, held_out.images, step=last.number, progress=progress)

    @classmethod
    def calibrated(
        cls,
        config: Config[Settings, Settings],
        state: object,
        files: TrainingFiles,
        held_out: UInt8[np.ndarray, "n h w 3"],
        *,
        step: int,
        progress: bool = False,
    ) -> "Detector":
        """A detector of weights that were trained for `step` steps, calibrated on held-out normal images."""
        calibration = calibrate(
            config.build(),
            state,
            held_out,
            scoring=config.scoring,
            seed=config.seed,
            step=step,
            progress=progress,
        )
        return cls(config, state, calibration, files)

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
        images, step = _as_split(held_out, config).images, self.calibration.step
        return Detector.calibrated(config, self.state, self.files, images, step=step, progress=progress)

    def score(self, images: ImagesLike) -> list[Prediction]:
        """Scores, anomaly maps and verdicts.

        Args:
            images: a path of a file or folder, an array of any size (uint8 or uint16; `h w`, `h w 1`,
                `h w 3` or `h w 4`, or a batch `n h w c`), a Pillow picture, or an iterable of these.

        Raises:
            InputError: an image cannot be used; the message names its path or position.
        """
        return list(self.stream(images))

    def stream(self, images: ImagesLike) -> Iterator[Prediction]:
        """What `score` gives, image by image as it comes, in the memory of two queues."""
        data, size = self.config.data, self.config.throughput.queue_size
        for chunk in as_pictures(
            images, size=(data.image_size, data.image_size), aspect=data.aspect, chunk=size
        ):
            maps = self.anomaly_maps(np.stack([picture.pixels for picture in chunk]))
            scores = scores_of(maps, self.config.scoring)
            for i, picture in enumerate(chunk):
                values = {name: float(own[i]) for name, own in scores.items()}
                yield Prediction(
                    name=picture.name,
                    scores=values,
                    anomalous={name: x > self.calibration.thresholds[name] for name, x in values.items()},
                    original=np.asarray(picture.original),
                    small_maps={name: own[i] for name, own in maps.items()},
                    aspect=data.aspect,
                )

    def reconstruct(self, images: ImagesLike) -> UInt8[np.ndarray, "n h w 3"]:
        """The reconstructions of images, as `score` takes them, in the working size."""
        found = by_queues(
            lambda queue, count: to_uint8(
                self.method.predict(self.state, self.calibration.tuned, queue, count).reconstructions
            ),
            _as_split(images, self.config).images,
            size=self.config.throughput.queue_size,
        )
        return np.asarray(found)

    def trace(self, images: ImagesLike) -> Trace:
        """Every state of the test-time loop for images, as `score` takes them."""
        return self.trace_pixels(_as_split(images, self.config).images)

    def anomaly_maps(self, images: UInt8[np.ndarray, "n h w 3"], *, label: str | None = None) -> AnomalyMaps:
        """The map of every score for images of the working size; `label` names the progress bar, if any."""
        plain = plain_anomaly_maps(self.method, self.state, self.calibration.tuned, images, label=label)
        return self.calibration.complete(plain)

    def trace_pixels(self, images: UInt8[np.ndarray, "n h w 3"]) -> Trace:
        """What `trace` gives for images of the working size."""
        states = by_queues(
            lambda queue, count: self.method.trace(self.state, self.calibration.tuned, queue, count),
            images,
            size=min(len(images), self.config.throughput.queue_size),
        )
        return Trace(
            np.asarray(to_uint8(jnp.asarray(states.images))),
            np.asarray(states.masks[..., 0] > 0),
            np.asarray(states.scores),
            tuple(self.method.trace_iterations),
        )

    def save(self, folder: str | Path) -> None:
        """Writes a run folder, from which `load` and the commands read.

        Raises:
            InputError: there is a run already, or the folder cannot be written to.
        """
        run = RunFolder(Path(folder))
        with run.lock():
            run.create(self.config, self.files)
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
        step, state = load_weights(run, config)
        calibration = Calibration.read(run, method=config.build(), step=step, state=state)
        return cls(config, state, calibration, files)


def load_train(config: Config[Settings, Settings], *, progress: bool = False) -> Split:
    """The normal training images that the settings name.

    Raises:
        InputError: they cannot be read.
    """
    data = config.data
    dataset = load_dataset(
        data.data, size=(data.image_size, data.image_size), aspect=data.aspect, progress=progress
    )
    return dataset.train


def load_weights(run: RunFolder, config: Config[Settings, Settings]) -> tuple[int, State]:
    """The number of training steps of the newest checkpoint, and its state.

    Raises:
        InputError: there is no checkpoint, or it is damaged or of other settings.
    """
    folder = run.source()
    # Orbax makes the folder it is pointed at: not for a question.
    if not folder.checkpoints.is_dir():
        raise InputError(f"{folder.checkpoints}: no checkpoint; train the run first")
    with Checkpoints(folder.checkpoints) as checkpoints:
        state = checkpoints.load(state_shapes(config.build()))
        assert checkpoints.latest is not None  # or load would have raised
        return checkpoints.latest, state


def _last_step(
    config: Config[Settings, Settings], images: UInt8[np.ndarray, "n h w 3"], *, progress: bool
) -> Step:
    """The end of a training."""
    steps = training_steps(config.build(), images, seed=config.seed)
    last = None
    for last in tqdm(steps, "train", config.flat().get("steps", 1), unit="step", disable=not progress):
        if last.number % CHECK_EVERY == 0 and (problem := last.problem(weights=False)):
            raise InputError(f"training diverged at step {last.number} ({problem}); lower the learning rates")
    assert last is not None  # there is at least one step
    if problem := last.problem():
        raise InputError(f"training diverged at step {last.number} ({problem}); lower the learning rates")
    return jax.block_until_ready(last)


def _as_split(images: ImagesLike, config: Config[Settings, Settings]) -> Split:
    """Normal images of the working size.

    Raises:
        InputError: there is none, or one cannot be used.
    """
    data = config.data
    chunks = as_pictures(images, size=(data.image_size, data.image_size), aspect=data.aspect, chunk=64)
    pixels = [picture.pixels for chunk in chunks for picture in chunk]
    if not pixels:
        raise InputError("no images given; give at least one")
    return Split.of_normal_images(np.stack(pixels))

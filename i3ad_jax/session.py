"""A training session in a run folder: progress bar, log, checkpoints, sample pictures, interruptions."""

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.images import Size
from i3ad_jax.detector import Detector
from i3ad_jax.errors import DivergenceError, InputError, LearnedLittleWarning
from i3ad_jax.evaluation import evaluate, write_evaluation
from i3ad_jax.fit import Step, choose_devices, state_shapes, training_steps
from i3ad_jax.inspection.cost import check_memory
from i3ad_jax.learning import examine
from i3ad_jax.methods.method import Method, State, StepSettings
from i3ad_jax.preparation import Preparation, load_data, prepare
from i3ad_jax.reporting.figures import contact_sheet
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.files import append_line, write_json, write_picture
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.devices import own_copy
from i3ad_jax.runtime.disk import make_folder, remove, sync
from i3ad_jax.runtime.processes import agreed, by_first, gathered, is_first
from i3ad_jax.runtime.signals import held_signals
from i3ad_jax.shapes import to_uint8

LOG_EVERY = 20
NUM_SAMPLES = 8


class Interrupted(Exception):  # noqa: N818 (a request, not an error)
    """Ctrl-C or SIGTERM came during training; the state was saved. `signal` is the signal's number."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(f"stopped after step {step}, which is saved")
        self.signal = number


def train_and_test(
    config: Config[Any, Any],
    folder: RunFolder,
    *,
    resume: bool = False,
    devices: int | None = None,
    memory: int | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Trains, calibrates and tests; returns what `results.json` holds, None for data without test images.

    Where several processes train together, each calls this, with the folder in a file system that they share.
    The first one writes; what goes wrong in one of them is raised in all.

    Args:
        config: all settings; with `resume`, those of the run but for more steps.
        folder: of the run; made here unless `resume`.
        resume: go on from the newest checkpoint.
        devices: that share every batch of the training, as `choose_devices` takes them.
        memory: bytes that the images of a split, or the test's maps, may take there, as for `load_dataset`.
        command: for the run's record.

    Raises:
        InputError: the data or the folder cannot be used, another command works in it, files trained on or
            held out have changed since the run began, or training diverged; the last good checkpoint is
            kept.
        Interrupted: on Ctrl-C or SIGTERM during training, after saving.
    """
    progress = is_first()

    @lru_cache(maxsize=1)  # the training's size and the test's are the same
    def read(size: Size) -> Dataset:
        return load_data(config, size=size, memory=memory, progress=progress)

    def with_test(prepared: Preparation) -> Preparation:
        """Reads the test images too: what cannot be used is refused before the training, not after it."""
        len(read(prepared.preprocessing.size).test)
        return prepared

    def begin() -> Preparation | None:
        for side, method in config.possible_methods().items():
            choose_devices(method, devices)
            check_memory(method, side=side)
        if resume:
            return None
        folder.check_free()
        return with_test(prepare(config, lambda size: read(size).train))

    # Before the folder is made: data that cannot be read leave none behind.
    prepared = agreed(begin)
    with ExitStack() as stack:
        by_first(lambda: stack.enter_context(folder.lock()))
        if prepared is None:
            prepared = agreed(lambda: with_test(_continue(config, folder, lambda size: read(size).train)))
        else:
            created = partial(folder.create, prepared.config, prepared.files, prepared.preprocessing)
            by_first(lambda: created(command=command))
        agreed(lambda: is_first() or _check_same(prepared, folder))
        step, state = _train(prepared, folder, devices=devices)
        detector = Detector.calibrated(
            prepared.config,
            state,
            prepared.files,
            prepared.held_out.images[:],
            preprocessing=prepared.preprocessing,
            step=step,
            progress=progress,
        )
        by_first(lambda: detector.calibration.write(folder))
        if problem := detector.calibration.problem:
            warnings.warn(problem, LearnedLittleWarning, stacklevel=2)
        dataset = agreed(lambda: read(prepared.preprocessing.size))
        if not len(dataset.test):
            return None
        evaluation = evaluate(detector, dataset, memory=memory, progress=progress)
        write = partial(
            write_evaluation, evaluation, folder, run=folder, data=config.data.data, command=command
        )
        return agreed(lambda: write() if is_first() else evaluation.results)


def _continue(config: Config[Any, Any], folder: RunFolder, read: Callable[[Size], Split]) -> Preparation:
    """What a run started from, with `config`, its settings but for more steps.

    Raises:
        InputError: files trained on or held out have changed since, or it has been trained for more steps.
    """
    files, preprocessing = folder.read_files(), folder.read_preprocessing()
    train = read(preprocessing.size)
    if changes := files.changes(train):
        raise InputError(changes[0] + (f" (and {len(changes) - 1} more)" if changes[1:] else ""))
    stored = folder.read_config()  # again, now that no other training can change it
    if config.flat().get("steps", 0) < stored.flat().get("steps", 0):
        raise InputError(f"--run {folder.path}: has been trained for more steps meanwhile; resume it again")
    if config != stored and is_first():  # more steps: what is there so far is not of the run any more
        with folder.writing():
            for file in (folder.results, folder.calibration):
                remove(file)
            write_json(folder.config, config.to_json())
    return Preparation(config, preprocessing, files, *files.select(train))


def _check_same(prepared: Preparation, folder: RunFolder) -> None:
    """Raises InputError unless this process sees the run, and the data that the first one made it of."""
    if not folder.config.exists():
        raise InputError(f"--run {folder.path}: not seen here; name a folder that all processes share")
    if (folder.read_config(), folder.read_files()) != (prepared.config, prepared.files):
        raise InputError(f"--data {prepared.config.data.data}: holds other images here than for process 0")


def _train(prepared: Preparation, folder: RunFolder, *, devices: int | None) -> tuple[int, State]:
    """The number of training steps, and the state after them; writes checkpoints, log and samples."""
    config = prepared.config
    method = config.build()
    settings = method.training
    by_steps = isinstance(settings, StepSettings)
    total = settings.steps if by_steps else 1
    with folder.writing(), Checkpoints(folder.checkpoints) as checkpoints, held_signals() as received:
        start = checkpoints.latest or 0
        state = agreed(lambda: checkpoints.load(state_shapes(method)) if start else None)
        by_first(partial(folder.keep_metrics_until, start))
        steps = training_steps(
            method,
            prepared.images.images,
            preprocessing=prepared.preprocessing,
            augment=config.preprocessing.augment,
            seed=config.seed,
            start=start,
            state=state,
            every=(LOG_EVERY, settings.checkpoint_every, settings.sample_every) if by_steps else (1,),
            devices=devices,
        )
        record, step = _Record(method, prepared, folder, start), Step(start, state, {})
        hidden = start >= total or not is_first()
        bar = tqdm(desc="train", total=total, initial=start, unit="step", disable=hidden)
        with bar as progress:
            for step in steps:
                progress.update(step.number - progress.n)
                stopped = max(gathered(received[0] if received else 0))  # all at the same step
                last = step.number == total or bool(stopped)
                saving = last or (by_steps and step.number % settings.checkpoint_every == 0)
                if saving or step.number % LOG_EVERY == 0:
                    _check(step, weights=saving, kept=checkpoints.latest)
                    by_first(partial(record.losses, step, examined=saving))
                    progress.set_postfix(
                        {name.removesuffix("_loss"): f"{value:.3g}" for name, value in step.metrics.items()}
                    )
                if by_steps and (step.number % settings.sample_every == 0 or step.number == total):
                    by_first(partial(record.samples, step))
                if saving:
                    checkpoints.save(step.number, step.state)
                if stopped:
                    raise Interrupted(step.number, stopped)
    return step.number, own_copy(step.state)


def _check(step: Step, *, weights: bool, kept: int | None) -> None:
    """Raises DivergenceError if it has."""
    if problem := step.problem(weights=weights):
        raise DivergenceError(step.number, problem, kept=kept)


class _Record:
    """What a training leaves in its folder beside checkpoints: losses and sample pictures."""

    def __init__(self, method: Method, prepared: Preparation, folder: RunFolder, start: int) -> None:
        self._method, self._prepared, self._folder = method, prepared, folder
        self._clock = _Clock(start)
        shown = prepared.held_out.images[:NUM_SAMPLES]
        self._shown = prepared.preprocessing.squares(shown, seed=prepared.config.seed)

    def losses(self, step: Step, *, examined: bool) -> None:
        """Adds a row to the metrics, with what held-out images say of the training if they are examined."""
        losses = {name: float(value) for name, value in step.metrics.items()}
        row = {"step": step.number, **losses, "steps_per_second": self._clock.rate(step.number)}
        if examined:
            held_out, preprocessing = self._prepared.held_out.images[:], self._prepared.preprocessing
            learned = examine(self._method, own_copy(step.state), held_out, preprocessing)
            row |= learned.as_metrics() if learned else {}
        with self._folder.writing():
            append_line(self._folder.metrics, row)
            if examined:  # a checkpoint follows, which must not be ahead of the log
                sync(self._folder.metrics)

    def samples(self, step: Step) -> None:
        """Writes pictures of what the networks make of some held-out images."""
        rows = self._method.sample(own_copy(step.state), self._shown.images, jax.random.key(0))
        sheet = contact_sheet([np.asarray(to_uint8(self._shown.pixels(row))) for row in rows])
        with self._folder.writing():
            make_folder(self._folder.samples)
            write_picture(self._folder.samples / f"step_{step.number:07d}.png", sheet)


class _Clock:
    """Steps per second since the last time it was asked; the first answer includes compilation."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        now = time.perf_counter()
        rate = (step - self.step) / (now - self.time)
        self.step, self.time = step, now
        return rate

"""A training session in a run folder: progress bar, log, checkpoints, sample pictures, interruptions."""

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.images import Size
from i3ad_jax.data.load import load_dataset
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError, LearnedLittleWarning
from i3ad_jax.evaluation import evaluate, write_evaluation
from i3ad_jax.fit import Step, check_devices, state_shapes, training_steps
from i3ad_jax.inspection.cost import check_memory
from i3ad_jax.learning import examine
from i3ad_jax.methods.method import Method, State, StepSettings
from i3ad_jax.preparation import Preparation, prepare
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.reporting.figures import contact_sheet
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.files import append_line, write_json
from i3ad_jax.runs.run_folder import RunFolder
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
    devices: int = 1,
    memory: int | None = None,
    command: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Trains, calibrates and tests; returns what `results.json` holds, None for data without test images.

    Args:
        config: all settings; with `resume`, those of the run but for more steps.
        folder: of the run; made here unless `resume`.
        resume: go on from the newest checkpoint.
        devices: that share every batch of the training.
        memory: bytes that the images of a split, or the test's maps, may take there, as for `load_dataset`.
        command: for the run's record.

    Raises:
        InputError: the data or the folder cannot be used, another training works in it, files trained on or
            held out have changed since the run began, or training diverged; the last good checkpoint is
            kept.
        Interrupted: on Ctrl-C or SIGTERM during training, after saving.
    """
    check_devices(config.build(), devices)
    check_memory(config.build())
    if not resume:
        folder.check_free()
    data = config.data

    @lru_cache(maxsize=1)  # the training's size and the test's are the same
    def read(size: Size) -> Dataset:
        return load_dataset(
            data.data, size=size, aspect=data.aspect, layout=data.layout, memory=memory, progress=True
        )

    # Before the folder is made: data that cannot be read leave none behind.
    prepared = None if resume else prepare(config, lambda size: read(size).train)
    with folder.lock():
        if prepared is None:
            prepared = _continue(config, folder, lambda size: read(size).train)
        else:
            folder.create(prepared.config, prepared.files, prepared.preprocessing, command=command)
        step, state = _train(prepared, folder, devices=devices)
        detector = Detector.calibrated(
            prepared.config,
            state,
            prepared.files,
            prepared.held_out.images[:],
            preprocessing=prepared.preprocessing,
            step=step,
            progress=True,
        )
        detector.calibration.write(folder)
        if problem := detector.calibration.problem:
            warnings.warn(problem, LearnedLittleWarning, stacklevel=2)
        dataset = read(prepared.preprocessing.size)
        if not len(dataset.test):
            return None
        evaluation = evaluate(detector, dataset, memory=memory, progress=True)
        return write_evaluation(evaluation, folder, run=folder, data=data.data, command=command)


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
    if config != stored:  # more steps: what is there so far is not of the run any more
        with folder.writing():
            for file in (folder.results, folder.calibration):
                file.unlink(missing_ok=True)
            write_json(folder.config, config.to_json())
    return Preparation(config, preprocessing, files, *files.select(train))


def _train(prepared: Preparation, folder: RunFolder, *, devices: int) -> tuple[int, State]:
    """The number of training steps, and the state after them; writes checkpoints, log and samples."""
    config, preprocessing = prepared.config, prepared.preprocessing
    method = config.build()
    settings = method.training
    by_steps = isinstance(settings, StepSettings)
    total = settings.steps if by_steps else 1
    shown = preprocessing.squares(prepared.held_out.images[:NUM_SAMPLES], seed=config.seed)
    with folder.writing(), Checkpoints(folder.checkpoints) as checkpoints, _signals() as received:
        start = checkpoints.latest or 0
        state = checkpoints.load(state_shapes(method)) if start else None
        folder.keep_metrics_until(start)
        steps = training_steps(
            method,
            prepared.images.images,
            preprocessing=preprocessing,
            augment=config.preprocessing.augment,
            seed=config.seed,
            start=start,
            state=state,
            every=(LOG_EVERY, settings.checkpoint_every, settings.sample_every) if by_steps else (1,),
            devices=devices,
        )
        clock, step = _Clock(start), Step(start, state, {})
        bar = tqdm(desc="train", total=total, initial=start, unit="step", disable=start >= total)
        with bar as progress:
            for step in steps:
                progress.update(step.number - progress.n)
                last = step.number == total or bool(received)
                saving = last or (by_steps and step.number % settings.checkpoint_every == 0)
                if saving or step.number % LOG_EVERY == 0:
                    _check(step, weights=saving, kept=checkpoints.latest)
                    losses = {name: float(value) for name, value in step.metrics.items()}
                    row = {"step": step.number, **losses, "steps_per_second": clock.rate(step.number)}
                    if saving:
                        learned = examine(method, step.state, prepared.held_out.images[:], preprocessing)
                        row |= learned.as_metrics() if learned else {}
                    append_line(folder.metrics, row)
                    short = {name.removesuffix("_loss"): f"{value:.3g}" for name, value in losses.items()}
                    progress.set_postfix(short)
                if by_steps and (step.number % settings.sample_every == 0 or step.number == total):
                    _save_samples(method, step, shown, folder)
                if saving:
                    checkpoints.save(step.number, step.state)
                if received:
                    raise Interrupted(step.number, received[0])
    return step.number, step.state


def _check(step: Step, *, weights: bool, kept: int | None) -> None:
    """Raises InputError if training has diverged."""
    if problem := step.problem(weights=weights):
        last_good = f"the checkpoint of step {kept} is kept" if kept else "there is no checkpoint yet"
        raise InputError(
            f"training diverged at step {step.number} ({problem}); {last_good};"
            " start a new run with smaller learning rates"
        )


def _save_samples(method: Method, step: Step, shown: Squares, folder: RunFolder) -> None:
    rows = method.sample(step.state, shown.images, jax.random.key(0))
    folder.samples.mkdir(exist_ok=True)
    sheet = contact_sheet([np.asarray(to_uint8(shown.pixels(row))) for row in rows])
    sheet.save(folder.samples / f"step_{step.number:07d}.png")


class _Clock:
    """Steps per second since the last time it was asked; the first answer includes compilation."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        now = time.perf_counter()
        rate = (step - self.step) / (now - self.time)
        self.step, self.time = step, now
        return rate


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list to which SIGINT and SIGTERM add their number, once; a second one acts as usual."""
    received: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()  # where alone Python takes signals
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    handlers = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, handlers[signal.Signals(number)])

    for number in handlers:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

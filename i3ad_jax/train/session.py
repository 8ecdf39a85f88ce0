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

from i3ad_jax.calibration.learned import examine
from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.images import Size
from i3ad_jax.detector import Detector
from i3ad_jax.errors import DivergenceError, InputError, LearnedLittleWarning
from i3ad_jax.evaluate.tested_run import evaluate, write_evaluation
from i3ad_jax.methods.method import State, StepSettings
from i3ad_jax.methods.state import state_shapes
from i3ad_jax.pictures import contact_sheet
from i3ad_jax.plan import Plan, Resolved, resolve
from i3ad_jax.runs.calibration_file import write_calibration
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.files import append_line, write_json, write_picture
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.devices import own_copy
from i3ad_jax.runtime.disk import make_folder, remove, sync
from i3ad_jax.runtime.processes import agreed, by_first, gathered, is_first
from i3ad_jax.runtime.signals import held_signals
from i3ad_jax.shapes import to_uint8
from i3ad_jax.training.steps import Step, choose_devices, steps_of_plan

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
        return config.data.load(size=size, memory=memory, progress=progress)

    def read_train(size: Size) -> Split:
        return read(size).train

    def begin() -> Resolved | None:
        choose_devices(config.batch_sizes(), devices)
        if resume:
            return None
        folder.check_free()
        return resolve(config, read_train)

    # Before the folder is made: data that cannot be read leave none behind.
    resolved = agreed(begin)
    with ExitStack() as stack:
        if resolved is None:
            by_first(lambda: stack.enter_context(folder.lock()))
            resolved = agreed(lambda: _continue(config, folder, read_train))
        plan = resolved.plan
        if progress:
            print("\n".join(plan.describe()))
        dataset = read(plan.preprocessing.size)
        # Test images that cannot be used are refused before the training.
        num_test = agreed(lambda: len(dataset.test))
        if not resume:
            by_first(lambda: stack.enter_context(folder.lock()))
            by_first(lambda: folder.create(plan, command=command))
        agreed(lambda: is_first() or _check_same(plan, folder))
        step, state = _train(resolved, folder, devices=devices)
        held_out = resolved.held_out.images[:]
        detector = Detector.calibrated(plan, state, held_out, step=step, progress=progress)
        by_first(lambda: write_calibration(detector.calibration, folder))
        if problem := detector.calibration.problem:
            warnings.warn(problem, LearnedLittleWarning, stacklevel=2)
        if not num_test:
            return None
        evaluation = evaluate(detector, dataset, memory=memory, progress=progress)
        write = partial(
            write_evaluation, evaluation, folder, run=folder, data=config.data.data, command=command
        )
        return agreed(lambda: write() if is_first() else evaluation.results)


def _continue(
    config: Config[Any, Any], folder: RunFolder, read: Callable[[Size], Split]
) -> Resolved:
    """What a run started from, with `config`, its settings but for more steps.

    Raises:
        InputError: files trained on or held out have changed since, or it has been trained for more steps.
    """
    plan = folder.read_plan().with_asked(config)
    train = read(plan.preprocessing.size)
    if changes := plan.files.changes(train):
        raise InputError(changes[0] + (f" (and {len(changes) - 1} more)" if changes[1:] else ""))
    stored = folder.read_config()  # again, now that no other training can change it
    if config.flat().get("steps", 0) < stored.flat().get("steps", 0):
        raise InputError(
            f"--run {folder.path}: has been trained for more steps meanwhile; resume it again"
        )
    if (
        config != stored and is_first()
    ):  # more steps: what is there so far is not of the run any more
        with folder.writing():
            for file in (folder.results, folder.calibration, folder.rule):
                remove(file)
            write_json(folder.config, config.to_json())
    return Resolved(plan, *plan.files.select(train))


def _check_same(plan: Plan, folder: RunFolder) -> None:
    """Raise InputError unless this process sees the run and the data that process 0 sees."""
    if not folder.config.exists():
        raise InputError(
            f"--run {folder.path}: not seen here; name a folder that all processes share"
        )
    if (folder.read_config(), folder.read_files()) != (plan.asked, plan.files):
        raise InputError(
            f"--data {plan.asked.data.data}: holds other images here than for process 0"
        )


def _train(resolved: Resolved, folder: RunFolder, *, devices: int | None) -> tuple[int, State]:
    """The number of training steps, and the state after them; writes checkpoints, log and samples."""
    plan = resolved.plan
    settings = plan.method.training
    by_steps = isinstance(settings, StepSettings)
    total = settings.steps if by_steps else 1
    with (
        folder.writing(),
        Checkpoints(folder.checkpoints) as checkpoints,
        held_signals() as received,
    ):
        start = checkpoints.latest or 0
        state = agreed(lambda: checkpoints.load(state_shapes(plan.method)) if start else None)
        by_first(partial(folder.keep_metrics_until, start))
        steps = steps_of_plan(
            plan,
            resolved.images.images,
            start=start,
            state=state,
            every=(LOG_EVERY, settings.checkpoint_every, settings.sample_every)
            if by_steps
            else (1,),
            devices=devices,
        )
        record, step = _Record(resolved, folder, start), Step(start, state, {})
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
                        {
                            name.removesuffix("_loss"): f"{value:.3g}"
                            for name, value in step.metrics.items()
                        }
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

    def __init__(self, resolved: Resolved, folder: RunFolder, start: int) -> None:
        self._plan, self._held_out, self._folder = resolved.plan, resolved.held_out, folder
        self._clock = _Clock(start)
        shown = self._held_out.images[:NUM_SAMPLES]
        self._shown = self._plan.preprocessing.squares(shown, seed=self._plan.config.seed)

    def losses(self, step: Step, *, examined: bool) -> None:
        """Adds a row to the metrics, with what held-out images say of the training if they are examined."""
        losses = {name: float(value) for name, value in step.metrics.items()}
        row = {"step": step.number, **losses, "steps_per_second": self._clock.rate(step.number)}
        if examined:
            method, preprocessing = self._plan.method, self._plan.preprocessing
            learned = examine(method, own_copy(step.state), self._held_out.images[:], preprocessing)
            row |= learned.as_metrics() if learned else {}
        with self._folder.writing():
            append_line(self._folder.metrics, row)
            if examined:  # a checkpoint follows, which must not be ahead of the log
                sync(self._folder.metrics)

    def samples(self, step: Step) -> None:
        """Writes pictures of what the networks make of some held-out images."""
        rows = self._plan.method.sample(own_copy(step.state), self._shown.images, jax.random.key(0))
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

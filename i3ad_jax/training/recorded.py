# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Training in a run folder: checkpoints, losses, sample pictures, interruption and resumption."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from i3ad_jax.calibration.learned import Yardstick, examine
from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Size
from i3ad_jax.errors import DivergenceError, InputError
from i3ad_jax.methods import METHODS
from i3ad_jax.methods.method import StepSettings
from i3ad_jax.methods.state import state_shapes
from i3ad_jax.pictures import contact_sheet
from i3ad_jax.plan import Resolved
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.files import append_line, write_json, write_picture
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.configuration import configured
from i3ad_jax.runtime.devices import own_copy
from i3ad_jax.runtime.disk import make_folder, remove, sync
from i3ad_jax.runtime.memory import device_metrics
from i3ad_jax.runtime.processes import agreed, by_first, gathered, is_first
from i3ad_jax.runtime.progress import progress_bar
from i3ad_jax.runtime.signals import held_signals
from i3ad_jax.settings import flag
from i3ad_jax.shapes import to_uint8
from i3ad_jax.training.steps import Step, num_steps, steps_per_call, training_steps

NUM_SAMPLES = 8
TIME_IS_UP = 14  # number of SIGALRM, for which Windows has no name


class Interrupted(Exception):  # noqa: N818 (a request, not an error)
    """Ctrl-C or SIGTERM came during training, or its time was up; the state was saved.

    Attributes:
        signal: number of the signal, `TIME_IS_UP` without one.
        taken: steps that were taken since the training began or was resumed.
        left: steps that are left.
    """

    def __init__(self, step: int, number: int, *, taken: int, left: int) -> None:
        super().__init__(f"stopped after step {step}, which is saved")
        self.signal, self.taken, self.left = number, taken, left


def check_resumable(stored: Mapping[str, Any], asked: Mapping[str, Any], folder: RunFolder) -> None:
    """Raise InputError unless the settings are the run's own, or have more steps where they may.

    The place of the data may be another: `continued` compares the images themselves.

    Args:
        stored: settings of the run by name.
        asked: some or all settings that it is to continue with.
        folder: of the run.
    """
    may_grow = METHODS[stored["method"]].steps_may_grow
    for name, value in asked.items():
        longer = name == "steps" and may_grow and value > stored[name]
        if value != stored[name] and name != "data" and not longer:
            raise InputError(
                f"{flag(name)} {value}: {folder.path} was trained with {flag(name)} {stored[name]};"
                " leave it out or start a new run"
            )


def continued(
    config: Config[Any, Any], folder: RunFolder, read: Callable[[Size], Split]
) -> Resolved:
    """Return the plan of a run and its images; write settings that have changed to its folder.

    Args:
        config: settings of the run, or with more steps, or with another place of the same data.
        folder: of the run, locked.
        read: returns the normal images in a working size.

    Raises:
        InputError: files trained on or held out have changed since, or it has been trained for more
            steps or was recalibrated.
    """
    plan = folder.read_plan().with_asked(config)
    if plan.files.recalibrated:
        raise InputError(
            f"--run {folder.path}: was recalibrated on other images; resume the run that was"
            " trained, and recalibrate it again"
        )
    stored = folder.read_config()  # again, now that no other training can change it
    in_place = config.with_settings({"data": stored.data.data})
    train = read(plan.preprocessing.size)
    if changes := plan.files.changes(train):
        where = "" if config == in_place else f"--data {config.data.data}: not the run's images: "
        more = f" (and {len(changes) - 1} more)" if changes[1:] else ""
        raise InputError(f"{where}{changes[0]}{more}")
    if config.flat().get("steps", 0) < stored.flat().get("steps", 0):
        raise InputError(
            f"--run {folder.path}: has been trained for more steps meanwhile; resume it again"
        )
    # Of other weights everything is out of date, of data at another place only what names it.
    if config != stored and is_first():
        old = () if in_place == stored else (folder.calibration, folder.rule)
        with folder.writing():
            for file in (folder.results, *old):
                remove(file)
            write_json(folder.config, config.to_json())
    return Resolved(plan, *plan.files.select(train))


@configured
def recorded_steps(
    resolved: Resolved,
    folder: RunFolder,
    *,
    devices: int | None = None,
    until: float = math.inf,
    progress: bool = False,
) -> Iterator[Step]:
    """Yield the steps of a training from the newest checkpoint on; write checkpoints and losses.

    Args:
        resolved: plan and images.
        folder: of the run, locked.
        devices: as for `training_steps`.
        until: moment, in seconds of `time.monotonic`, from which on the next step is the last one.
        progress: show a progress bar.

    Yields:
        Some steps, one in `steps_per_call` at least, and the last one, which may be that of the
        checkpoint; written before they are yielded. Metrics are empty where no step was taken.

    Raises:
        DivergenceError: a loss or a weight is too large or not finite; the last good checkpoint is
            kept.
        InputError: the checkpoint or the images cannot be used, or the folder cannot be written to.
        Interrupted: on Ctrl-C or SIGTERM, or when the time is up, after saving.
    """
    plan, total = resolved.plan, num_steps(resolved.plan.method)
    settings = plan.method.training
    by_steps = isinstance(settings, StepSettings)
    log_every = steps_per_call(plan.method)
    every = (log_every, settings.checkpoint_every, settings.sample_every) if by_steps else (1,)
    with (
        folder.writing(),
        Checkpoints(folder.checkpoints) as checkpoints,
        held_signals() as received,
    ):
        start = checkpoints.latest or 0
        state = agreed(lambda: checkpoints.load(state_shapes(plan.method)) if start else None)
        by_first(partial(folder.keep_metrics_until, start))
        if start >= total:
            yield Step(start, state, {})
            return
        steps = training_steps(
            plan, resolved.images.images, start=start, state=state, every=every, devices=devices
        )
        record = _Record(resolved, folder, start)
        hidden = not (progress and is_first())
        with progress_bar(
            "train", total, unit="step", initial=start, compiles=True, disable=hidden
        ) as bar:
            for step in steps:
                bar.update(step.number - bar.n)
                stop = received[0] if received else TIME_IS_UP * (time.monotonic() >= until)
                stopped = max(gathered(stop))  # all at the same step
                last = step.number == total or bool(stopped)
                saving = last or (by_steps and step.number % settings.checkpoint_every == 0)
                if saving or step.number % log_every == 0:
                    if problem := step.problem(weights=saving):
                        raise DivergenceError(step.number, problem, kept=checkpoints.latest)
                    by_first(partial(record.losses, step, examined=saving))
                    bar.set_postfix(
                        {
                            name.removesuffix("_loss"): f"{value:.3g}"
                            for name, value in step.metrics.items()
                        }
                    )
                if by_steps and (step.number % settings.sample_every == 0 or step.number == total):
                    by_first(partial(record.samples, step))
                if saving:
                    checkpoints.save(step.number, step.state)
                yield step
                if stopped:
                    taken, left = step.number - start, total - step.number
                    raise Interrupted(step.number, stopped, taken=taken, left=left)


class _Record:
    """Files of a training in its folder beside checkpoints: losses and sample pictures."""

    def __init__(self, resolved: Resolved, folder: RunFolder, start: int) -> None:
        self._plan, self._held_out, self._folder = resolved.plan, resolved.held_out, folder
        self._clock = _Clock(start)
        shown = self._held_out.images[:NUM_SAMPLES]
        self._shown = self._plan.preprocessing.squares(shown, seed=self._plan.config.seed)

    @cached_property
    def _yardstick(self) -> Yardstick:
        """The held-out images that every checkpoint looks at."""
        plan = self._plan
        return Yardstick.of_held_out(plan.method, plan.preprocessing, self._held_out.images[:])

    def losses(self, step: Step, *, examined: bool) -> None:
        """Add a row to the metrics, with the evidence of held-out images if they are examined."""
        losses = {name: float(value) for name, value in step.metrics.items()}
        row = {"step": step.number, **losses, "steps_per_second": self._clock.rate(step.number)}
        row |= device_metrics()
        if examined:
            trained = self._plan.trained(own_copy(step.state), step=step.number)
            learned = examine(trained, self._yardstick)
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

"""Training session: a recorded training, its calibration and its test."""

import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.images import Size
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError, LearnedLittleWarning
from i3ad_jax.evaluate.tested_run import evaluate, write_evaluation
from i3ad_jax.plan import Plan, Resolved, resolve
from i3ad_jax.runs.calibration_file import write_calibration
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.devices import own_copy
from i3ad_jax.runtime.processes import agreed, by_first, is_first
from i3ad_jax.train.sitting import Sitting
from i3ad_jax.training.recorded import continued, recorded_steps
from i3ad_jax.training.steps import choose_devices, num_steps


@dataclass(frozen=True)
class Resources:
    """Resources of a training: they change its speed and, by rounding alone, its results.

    Attributes:
        devices: devices that share every batch, as `choose_devices` takes them.
        memory: bytes that the images of a split, or the test's maps, may take there, as for
            `load_dataset`.
        sitting: time after which the training stops.
    """

    devices: int | None = None
    memory: int | None = None
    sitting: Sitting = field(default_factory=Sitting)


def train_and_test(
    config: Config[Any, Any],
    folder: RunFolder,
    *,
    resume: bool = False,
    resources: Resources = Resources(),
    command: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Train, calibrate and test; return the content of `results.json`, None without test images.

    Where several processes train together, each calls this, with the folder in a file system that
    they share. The first one writes; what goes wrong in one of them is raised in all.

    Args:
        config: all settings; with `resume`, those of the run, possibly with more steps.
        folder: of the run; made here unless `resume`.
        resume: continue from the newest checkpoint.
        resources: devices, memory and time; they are not part of the run.
        command: for the run's record.

    Raises:
        InputError: the data or the folder cannot be used, another command works in it, files
            trained on or held out have changed since the run began, or training diverged; the last
            good checkpoint is kept.
        Interrupted: on Ctrl-C or SIGTERM during training, or when its time is up, after saving.
    """
    progress, devices, memory = is_first(), resources.devices, resources.memory

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
            resolved = agreed(lambda: continued(config, folder, read_train))
        plan = resolved.plan
        dataset = read(plan.preprocessing.size)
        if progress:
            print("\n".join((*plan.describe(), *dataset.notes)))
        # Test images that cannot be used are refused before the training.
        num_test = agreed(lambda: len(dataset.test))
        if not resume:
            by_first(lambda: stack.enter_context(folder.lock()))
            by_first(lambda: folder.create(plan, command=command))
        agreed(lambda: is_first() or _check_same(plan, folder))
        until = resources.sitting.end
        steps = recorded_steps(resolved, folder, devices=devices, until=until, progress=progress)
        announced = resources.sitting.announced(steps, total=num_steps(plan.method))
        (last,) = deque(announced, maxlen=1)
        detector = Detector.calibrated(
            plan,
            own_copy(last.state),
            resolved.held_out.images[:],
            step=last.number,
            verdict=agreed(folder.read_verdict),
            progress=progress,
        )
        by_first(lambda: write_calibration(detector.calibration, folder))
        if problem := detector.calibration.problem:
            warnings.warn(problem, LearnedLittleWarning, stacklevel=2)
        if not num_test:
            return None
        evaluation = evaluate(detector, dataset, memory=memory, progress=progress)
        write = partial(
            write_evaluation, evaluation, folder, run=folder, data=config.data, command=command
        )
        return agreed(lambda: write() if is_first() else evaluation.results)


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

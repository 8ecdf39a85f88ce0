# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`Detector`: a method, its settings, its weights and its calibration in one object."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer, UInt8

from i3ad_jax.calibration.calibration import calibrate
from i3ad_jax.calibration.thresholds import DEFECT_QUANTILE
from i3ad_jax.calibration.verdict import DEFAULT_VERDICT, Rule, VerdictSettings
from i3ad_jax.config import DEFAULT_PRESET, Config, default_config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Size
from i3ad_jax.data.inputs import (
    ImagesLike,
    as_labelled_split,
    readable_again,
)
from i3ad_jax.data.load import ARRAYS, absolute_source
from i3ad_jax.errors import InputError, LearnedLittleWarning
from i3ad_jax.evaluation import Evaluation
from i3ad_jax.inference import Inference
from i3ad_jax.plan import Plan, Resolved, resolve
from i3ad_jax.runs.calibration_file import read_calibration, write_calibration
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runs.weights import load_weights
from i3ad_jax.runtime.configuration import configuration, configured
from i3ad_jax.runtime.devices import own_copy
from i3ad_jax.training.recorded import check_resumable, continued, recorded_steps
from i3ad_jax.training.steps import Step, checked_steps, choose_devices, num_steps

LOG = logging.getLogger(__name__)


class TrainingProgress(NamedTuple):
    """State of a training, for callbacks.

    Attributes:
        step: number of training steps so far.
        steps: number of all training steps.
        losses: of this step, by name.
        detector: calibrates and returns the detector so far, while the callback runs.
    """

    step: int
    steps: int
    losses: Mapping[str, float]
    detector: Callable[[], "Detector"]


Callback = Callable[[TrainingProgress], None]


@dataclass(frozen=True, eq=False, repr=False)
class Detector(Inference):
    """A trained and calibrated detector.

    Attributes:
        plan: settings, what the networks see of an image, and the images of training and
            calibration.
        state: weights, and the state of the optimisers.
        calibration: results of the calibration.
        verdict: settings of the rule that decides, saved with the detector.
    """

    @classmethod
    def fit(  # noqa: PLR0913 (flat options, as in scikit-learn)
        cls,
        images: ImagesLike,
        *,
        method: str = "i3ad",
        preset: str = DEFAULT_PRESET,
        devices: int | None = None,
        callbacks: Sequence[Callback] = (),
        folder: str | Path | None = None,
        resume: bool = False,
        progress: bool = False,
        **settings: int | float | bool | str | tuple[int, ...] | None,
    ) -> "Detector":
        """Train and calibrate on normal images alone.

        The logger `i3ad_jax` gets the plan, notes on the files and the losses, level INFO.
        `LearnedLittleWarning` is issued where the network learned less than the simplest
        replacement of it.

        Args:
            images: a data set as `--data` takes it, of which only the normal training images are
                used; or the images themselves, as `score` takes them.
            method: one of `i3ad_jax.methods.METHODS`.
            preset: defaults of all other settings: standard, quick, gpu, paper or paper_small.
            devices: devices that share every batch of the training, by default one; on a CPU one
                has all cores.
            callbacks: functions that are called with `TrainingProgress`, every 20 steps or more
                often and at the end; an exception that one raises ends the training.
            folder: a new run folder for the plan, checkpoints, losses and the calibrated detector,
                so that an interrupted training can be resumed; by default nothing is written.
            resume: continue the run in `folder`, if there is one, from its newest checkpoint: with
                the same images, wherever they are, and settings, of which only `steps` may grow.
            progress: show progress bars.
            settings: any other option of `python -m i3ad_jax.train`, with underscores for dashes.

        Raises:
            InputError: a setting, an image or the folder cannot be used, or training diverged.
            Interrupted: with `folder`, on Ctrl-C or SIGTERM, after a checkpoint.
        """
        config = default_config(method, preset=preset).with_settings(settings)
        choose_devices(config.batch_sizes(), devices)  # before images are read
        if isinstance(images, str | Path):
            data = replace(config.data, data=absolute_source(str(images))).absolute()
            given = None
        else:
            data = replace(config.data, data=ARRAYS)
            given = readable_again(images)
        config = replace(config, data=data)

        def read(size: Size) -> Split:
            if given is not None:
                return data.split_of(given, size=size)
            dataset = data.load(size=size, progress=progress)
            for note in dataset.notes:
                LOG.info(note)
            return dataset.train

        with ExitStack() as stack:
            if folder is None:
                resolved, run = resolve(config, read), None
                steps = checked_steps(
                    resolved.plan, resolved.images.images, devices=devices, progress=progress
                )
            else:
                run = RunFolder(Path(folder))
                resolved = _begin_or_continue(config, run, read, resume=resume, stack=stack)
                steps = recorded_steps(resolved, run, devices=devices, progress=progress)
            plan, held_out = resolved.plan, resolved.held_out.images[:]
            for line in plan.describe():
                LOG.info(line)
            last = _follow(plan, steps, held_out, callbacks)
            detector = cls.calibrated(
                plan,
                own_copy(last.state),
                held_out,
                step=last.number,
                verdict=DEFAULT_VERDICT if run is None else run.read_verdict(),
                progress=progress,
            )
            if run is not None:
                write_calibration(detector.calibration, run)
        if detector.calibration.problem:
            warnings.warn(detector.calibration.problem, LearnedLittleWarning, stacklevel=2)
        return detector

    @classmethod
    @configured
    def calibrated(
        cls,
        plan: Plan,
        state: object,
        held_out: UInt8[np.ndarray, "n h w 3"],
        *,
        step: int,
        verdict: VerdictSettings = DEFAULT_VERDICT,
        progress: bool = False,
    ) -> "Detector":
        """Return a detector of weights, calibrated on held-out normal images.

        Args:
            plan: of the training.
            state: its result.
            held_out: normal images of the working size that served no training step.
            step: number of training steps.
            verdict: settings of the rule that decides.
            progress: show progress bars.
        """
        calibration = calibrate(
            plan.trained(state, step=step),
            held_out,
            scoring=plan.config.scoring,
            seed=plan.config.seed,
            progress=progress,
        )
        return cls(plan, state, calibration, verdict)

    def threshold(
        self, *, false_alarm_rate: float = 1 - DEFECT_QUANTILE, score: str | None = None
    ) -> float:
        """Return the threshold that a fraction of the calibration images exceeds.

        Args:
            false_alarm_rate: this fraction, in (0, 1). With n images, rates below 1 / n are
                extrapolated to the highest score.
            score: name of a score; by default the one that decides.

        Raises:
            InputError: the rate is outside (0, 1), or there is no such score.
        """
        asked = self.with_rule(score=score or self.rule.score, false_alarm_rate=false_alarm_rate)
        return asked.rule.threshold

    def with_rule(
        self,
        *,
        score: str | None = None,
        false_alarm_rate: float | None = None,
        threshold: float | None = None,
        unusable: Literal["mark", "ignore"] | None = None,
    ) -> "Detector":
        """Return the same detector with another rule, which `save` keeps.

        Args:
            score: name of the score that decides; by default the run's selected score.
            false_alarm_rate: fraction of the calibration images that the threshold calls anomalous,
                in (0, 1); by default 0.05.
            threshold: the threshold itself, in the units of the score; instead of a rate.
            unusable: mark pictures that are lit, coloured, focused or framed unlike the normal
                images as unusable, or ignore it; by default as this detector does.

        Raises:
            InputError: there is no such score, or the rate is outside (0, 1) or given with a
                threshold.
        """
        if false_alarm_rate is not None and threshold is not None:
            raise InputError("false_alarm_rate and threshold: give one of them")
        if false_alarm_rate is not None and not 0 < false_alarm_rate < 1:
            raise InputError(
                f"false_alarm_rate {false_alarm_rate}: must be more than 0 and less than 1"
            )
        quantile = None if false_alarm_rate is None else 1 - false_alarm_rate
        asked = VerdictSettings(score, quantile, threshold, unusable or self.verdict.unusable)
        name = Rule.of(self.calibration, asked).score  # refuses an unknown one
        return replace(self, verdict=replace(asked, score=name))

    def recalibrated(
        self,
        held_out: ImagesLike,
        *,
        method: str | None = None,
        progress: bool = False,
        **settings: int | float | bool | str | tuple[int, ...] | None,
    ) -> "Detector":
        """Return a detector with the same weights and other settings of the test, calibrated again.

        Pictures are usable that are taken as the images of the training or as these.

        Args:
            held_out: normal images that served no training step, as `score` takes them.
            method: another method that takes these weights, such as l2_ae_projection for those of
                l2_ae.
            progress: show progress bars.
            settings: options of `python -m i3ad_jax.evaluate`, with underscores for dashes.

        Raises:
            InputError: a setting is invalid or belongs to training, or an image cannot be used.
        """
        asked = self.plan.asked.for_test(method or self.config.method, settings)
        size, known = self.preprocessing.size, self.plan.acquisition
        given = self.config.data.split_of(held_out, size=size, by_file=True)
        files = replace(self.files, recalibrated=dict(zip(given.paths, given.hashes, strict=True)))
        plan = replace(self.plan, files=files, acquisition=known and known.extended(given))
        return Detector.calibrated(
            plan.with_asked(asked),
            self.state,
            given.images[:],
            step=self.calibration.step,
            verdict=self.verdict,
            progress=progress,
        )

    def evaluate(
        self,
        data: ImagesLike,
        labels: Sequence[int | str] | Integer[np.ndarray, " n"] | None = None,
        *,
        masks: Sequence[np.ndarray | None] | None = None,
        progress: bool = False,
    ) -> Evaluation:
        """Measure the detector on labelled images.

        Args:
            data: a data set as `--data` takes it, whose test images and masks are used; or images,
                as `score` takes them, with `labels`.
            labels: for each image 0 or "good" if it is normal, else 1 or the name of its defect
                class.
            masks: for each image the defective pixels, in the size of the image, or None if they
                are not known; of a normal image nothing is needed.
            progress: show a progress bar.

        Raises:
            InputError: an image, label or mask cannot be used, or there is none.
        """
        size, aspect = self.preprocessing.size, self.config.data.aspect
        if labels is None:
            if not isinstance(data, str | Path):
                raise InputError("labels: give a label for each image, or the path of a data set")
            own, source = self.config.data, absolute_source(str(data))
            found = own.for_source(source).load(size=size, progress=progress)
            name, test = found.name, found.test
        else:
            depth = self.config.data.reading.bit_depth
            test = as_labelled_split(data, labels, masks, size=size, aspect=aspect, bit_depth=depth)
            name = "images"
        if not len(test):
            raise InputError(f"{name}: no test images; `score` scores images without labels")
        maps, scores = self.score_split(test, progress=progress)
        return Evaluation.of(name, test, maps, scores, rule=self.rule, thresholds=self.thresholds)

    @configured
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
            run.write_verdict(self.verdict)

    @classmethod
    @configured
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
        return cls(plan, state, calibration, run.read_verdict())


def _begin_or_continue(
    config: Config[Any, Any],
    run: RunFolder,
    read: Callable[[Size], Split],
    *,
    resume: bool,
    stack: ExitStack,
) -> Resolved:
    """Return the plan of a new run, or of one to be continued, whose folder `stack` locks."""
    if resume and run.config.exists():
        check_resumable(run.read_config().flat(), config.flat(), run)
        stack.enter_context(run.lock())
        return continued(config, run, read)
    run.check_free()
    resolved = resolve(config, read)
    stack.enter_context(run.lock())
    run.create(resolved.plan)
    return resolved


def _follow(
    plan: Plan,
    steps: Iterator[Step],
    held_out: UInt8[np.ndarray, "n h w 3"],
    callbacks: Sequence[Callback],
) -> Step:
    """Take all steps, call the callbacks, and return the last step."""
    total, last = num_steps(plan.method), None

    @configured
    def so_far(step: Step) -> Detector:
        # The next step takes the memory of the state.
        state = jax.tree.map(jnp.copy, own_copy(step.state))
        return Detector.calibrated(plan, state, held_out, step=step.number)

    for last in steps:
        with configuration():
            losses = {name: float(value) for name, value in last.metrics.items()}
        shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        LOG.info("step %d of %d: %s", last.number, total, shown)
        for callback in callbacks:
            callback(TrainingProgress(last.number, total, losses, partial(so_far, last)))
    assert last is not None  # there is at least one step
    return last

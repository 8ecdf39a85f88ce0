"""Training in sittings: commands of limited time, each of which continues the run."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from i3ad_jax.errors import InputError
from i3ad_jax.runtime.processes import is_first
from i3ad_jax.runtime.progress import note
from i3ad_jax.training.recorded import TIME_IS_UP, Interrupted
from i3ad_jax.training.steps import Step

MEASURED_SECONDS = 20.0  # of training before the number of sittings is estimated


@dataclass(frozen=True)
class Sitting:
    """Time that one command may train.

    Attributes:
        minutes: from the start of the command until the training stops; None for no limit.
        began: the start of the command, in seconds of `time.monotonic`.

    Raises:
        InputError: the minutes are not a positive number.
    """

    minutes: float | None = None
    began: float = 0.0

    def __post_init__(self) -> None:
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise InputError(f"--minutes {self.minutes:g}: must be a positive number")

    @property
    def end(self) -> float:
        """Moment at which the training stops, in seconds of `time.monotonic`."""
        return math.inf if self.minutes is None else self.began + 60 * self.minutes

    def announced(self, steps: Iterator[Step], *, total: int) -> Iterator[Step]:
        """Yield the steps of a training; print once how many sittings they take, if they do.

        Args:
            steps: to yield, the first one by itself.
            total: number of the last step of the run.
        """
        step = next(steps)
        first, began = step.number, monotonic()
        yield step
        told = self.minutes is None or not is_first()
        for step in steps:
            seconds, taken = monotonic() - began, step.number - first
            if not told and seconds >= MEASURED_SECONDS:
                told, rate = True, taken / seconds
                expected = 1 + taken + max(0, math.ceil(rate * (self.end - monotonic())))
                count = self._count(total - first + 1, expected)
                note(f"train: {count} at {rate:.3g} steps a second, this one included")
            yield step

    def describe_rest(self, stop: Interrupted) -> str:
        """Return what is left of a run when the time is up, to follow the message."""
        if stop.signal != TIME_IS_UP:  # its steps are not those of a sitting
            return ""
        if stop.left == 0:
            return "; calibration and test are left"
        return f"; {self._count(stop.left, stop.taken)} are left"

    def _count(self, steps: int, each: int) -> str:
        count = math.ceil(steps / each)
        return f"about {count} {'sitting' if count == 1 else 'sittings'} of {self.minutes:g} min"

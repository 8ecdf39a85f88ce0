"""Progress on standard error: a bar on a terminal, and a line for every tenth elsewhere.

The time left is computed without the first step, which includes compilation.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from threading import Timer
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
COMPILING = "compiling ..."
_QUIET_SECONDS = 3.0  # shorter phases have no line


def progress_bar(  # noqa: PLR0913 (as of tqdm)
    label: str,
    total: int,
    *,
    unit: str,
    initial: int = 0,
    leave: bool = True,
    compiles: bool = False,
    disable: bool = False,
) -> "Bar | Lines":
    """Return a progress bar, a context manager.

    Args:
        label: name of the phase.
        total: number of all units.
        unit: name of a counted item, in the singular.
        initial: number of units that were done before.
        leave: keep the bar on the terminal at its end.
        compiles: say that the program is compiled until the first unit is done.
        disable: show nothing.
    """
    if disable or _redraws():
        return Bar(
            desc=label,
            total=total,
            unit=unit,
            initial=initial,
            leave=leave,
            compiles=compiles,
            disable=disable,
        )
    return Lines(label, total, unit, initial, compiles=compiles)


def with_progress(
    items: Iterable[Item], label: str, *, total: int | None = None, **options: Any
) -> Iterator[Item]:
    """Yield the items, with a progress bar.

    Args:
        items: any iterable.
        label: name of the phase.
        total: number of items; needed where they have no length.
        options: of `progress_bar`.
    """
    if total is None:
        assert isinstance(items, Sized)
        total = len(items)
    with progress_bar(label, total, **options) as bar:
        for item in items:
            yield item
            bar.update(1)


def note(text: str) -> None:
    """Print a line on standard error, above a progress bar that is there."""
    tqdm.write(text, file=sys.stderr)


def _redraws() -> bool:
    """Return whether what reads standard error takes a carriage return as one."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


class _Pace:
    """Steps per second after the first step."""

    def __init__(self, initial: float) -> None:
        self._initial = initial
        self._first: tuple[float, float] | None = None  # number of units and time after it

    @property
    def started(self) -> bool:
        """True once the first step is done."""
        return self._first is not None

    def note(self, n: float) -> None:
        """Record that `n` units are done."""
        if self._first is None and n > self._initial:
            self._first = n, time.monotonic()

    def rate(self, n: float) -> float | None:
        """Return the units per second when `n` are done; None while only one step is."""
        if self._first is None or n <= self._first[0]:
            return None
        return (n - self._first[0]) / max(time.monotonic() - self._first[1], 1e-9)


class Bar(tqdm):  # pyright: ignore[reportMissingTypeArgument]
    """tqdm's bar, whose rate leaves out the first step; keywords as of tqdm."""

    def __init__(self, *, compiles: bool, initial: int, **options: Any) -> None:
        self._pace, self._compiles = _Pace(initial), compiles
        super().__init__(initial=initial, **options)

    def update(self, n: float | None = 1) -> bool | None:
        """Add `n` units."""
        self._pace.note(self.n + (n or 0))
        return super().update(n)

    @property
    def format_dict(self) -> Any:
        """Return what the bar is drawn from, as tqdm does."""
        values: Any = super().format_dict
        if (rate := self._pace.rate(self.n)) is None:
            values["initial"] = self.n  # tqdm has no rate either then
        if self._compiles and not self._pace.started:
            values["postfix"] = COMPILING
        return {**values, "rate": rate}


class Lines:
    """A line after every tenth; the interface of tqdm's bar that the package uses."""

    def __init__(self, label: str, total: int, unit: str, initial: int, *, compiles: bool) -> None:
        self.n: float = initial
        self._label, self._total, self._unit = label, total, unit
        self._pace = _Pace(initial)
        self._began = time.monotonic()
        self._tenths = 10 * initial // max(total, 1)  # that were reached
        self._announcement = Timer(_QUIET_SECONDS, self._say, [COMPILING]) if compiles else None

    def __enter__(self) -> "Lines":
        if self._announcement is not None:
            self._announcement.daemon = True
            self._announcement.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._withdraw()

    def update(self, n: float = 1) -> None:
        """Add `n` units."""
        if n > 0:
            self._withdraw()
        self.n += n
        self._pace.note(self.n)
        reached = int(10 * self.n // max(self._total, 1))
        seconds = time.monotonic() - self._began
        if reached > self._tenths and seconds >= _QUIET_SECONDS:
            self._tenths = reached
            rate = self._pace.rate(self.n)
            left = (self._total - self.n) / rate if rate else 0
            done = f"{self.n:.0f}/{self._total} {self._unit}s ({10 * reached} %)"
            self._say(
                f"{done}, {duration(seconds)}" + (f", {about(left)} left" if left > 0 else "")
            )

    def set_postfix(self, values: Mapping[str, str]) -> None:
        """Leave out what a bar shows at its end."""

    def _withdraw(self) -> None:
        if self._announcement is not None:
            self._announcement.cancel()

    def _say(self, text: str) -> None:
        print(f"{self._label}: {text}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time as text: `42 s`, `1 min 3 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def about(seconds: float) -> str:
    """Return a time as text without its seconds where it has minutes: `42 s` or `9 min`."""
    return f"{round(seconds / 60)} min" if 60 <= seconds < 3570 else duration(seconds)

"""Record of the training images that a run learns from and holds out, by path and content.

Chosen each time, this division would move when one image is added to the folder, and
thresholds would come from images that the networks were trained on. So a run chooses it once, when
it begins, and keeps it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Size
from i3ad_jax.data.load import DataSettings
from i3ad_jax.errors import InputError

MOST_HELD_OUT = 1000
"""Images: what they decide, more of them would hardly decide better, and cannot be learned from."""
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class TrainingFiles:
    """Images of the training split that a run learned from and held out.

    Attributes:
        trained: the images to learn from: each path, relative to the data set's root, with the
            SHA-256 of the image's content; in the order of the training split.
        held_out: the same for the held-out images.
        recalibrated: the same for the images of a recalibration, which replace the held-out ones as
            calibration set: by absolute path, or by number where they were not given as files.
            Empty for a run that was not recalibrated.
    """

    trained: Mapping[str, str]
    held_out: Mapping[str, str]
    recalibrated: Mapping[str, str] = field(default_factory=dict)

    @property
    def calibration_set(self) -> Mapping[str, str]:
        """Images that thresholds come from."""
        return self.recalibrated or self.held_out

    @classmethod
    def choose(cls, train: Split, *, fraction: float, seed: int) -> "TrainingFiles":
        """A random division of the training split.

        Args:
            train: at least 2 images.
            fraction: of the images that are held out, in (0, 1); rounded to whole images, with at
                least one image in either part, and at most `MOST_HELD_OUT` in this one.
            seed: of the choice.

        Raises:
            InputError: `fraction` is outside (0, 1), or there are fewer than 2 images.
        """
        if not 0 < fraction < 1:
            raise InputError(f"--held-out {fraction}: give a fraction between 0 and 1")
        if len(train) < 2:
            raise InputError(
                f"{len(train)} normal image(s) to train on (as in train/good); at least 2 are"
                " needed, one to hold out"
            )
        count = min(max(round(fraction * len(train)), 1), len(train) - 1, MOST_HELD_OUT)
        order = np.random.default_rng(seed).permutation(len(train))
        parts = (np.sort(part) for part in (order[count:], order[:count]))
        return cls(*({train.paths[i]: train.hashes[i] for i in part} for part in parts))

    def select(self, train: Split) -> tuple[Split, Split]:
        """Return the images to learn from and the held-out ones, each in the recorded order.

        The latter are in memory. Images that were added to `train` since are in neither part.

        Raises:
            InputError: an image is missing or has changed; the message names the first by path.
        """
        self._check({**self.trained, **self.held_out}, train)
        return _take(train, self.trained), _take(train, self.held_out).in_memory()

    def select_held_out(self, train: Split) -> Split:
        """The held-out images, in memory, in the recorded order; the others need not be in `train`.

        Raises:
            InputError: a held-out image is missing or has changed; the message names the first by
                path.
        """
        self._check(self.held_out, train)
        return _take(train, self.held_out).in_memory()

    def read_calibration_set(
        self, data: DataSettings, *, size: Size, train: Split | None = None
    ) -> Split:
        """Return the images that thresholds come from, in memory, in the recorded order.

        Args:
            data: of the run.
            size: the working size.
            train: training split of `data`; read if needed by default.

        Raises:
            InputError: an image is missing, has changed, or did not come from a file.
        """
        if not self.recalibrated:
            train = data.load(size=size, progress=True).train if train is None else train
            return self.select_held_out(train)
        if not all(Path(path).is_absolute() for path in self.recalibrated):
            raise InputError(
                "the run was recalibrated on images given in Python, which cannot be read again;"
                " recalibrate it in Python, or on files"
            )
        found = data.split_of(list(self.recalibrated), size=size, by_file=True)
        for path, now in zip(found.paths, found.hashes, strict=True):
            if now != self.recalibrated[path]:
                raise InputError(
                    f"{path}: changed since the run was recalibrated; restore it or recalibrate"
                    " the run again"
                )
        return found

    def changes(self, train: Split) -> list[str]:
        """One line for each file that changed, is missing or was added since, sorted by path."""
        recorded = {**self.trained, **self.held_out}
        added = {
            path: f"{path}: added since the run was trained; train a new run to learn from it"
            for path in train.paths
            if path not in recorded
        }
        problems = added | _differences(recorded, train)
        return [problems[path] for path in sorted(problems)]

    def to_json(self) -> dict[str, dict[str, str]]:
        """All parts as dicts from path to hash; without that of a recalibration if it is empty."""
        parts = {"trained": dict(self.trained), "held_out": dict(self.held_out)}
        return parts | ({"recalibrated": dict(self.recalibrated)} if self.recalibrated else {})

    @classmethod
    def from_json(cls, values: Any) -> "TrainingFiles":
        """Return the record that `to_json` gave.

        Raises:
            InputError: a part is missing, unknown or empty, does not map paths to hashes, or has a
                path that the other part has too. The message is one line without a file name.
        """
        names = [part.name for part in fields(cls)]
        if not isinstance(values, dict):
            raise InputError("must be a JSON object")
        for name in names[:2]:
            if name not in values:
                raise InputError(f"{name} is missing")
        for name, part in values.items():
            if name not in names:
                raise InputError(f"{name!r} is unknown")
            _check_part(name, part)
        if both := values["trained"].keys() & values["held_out"].keys():
            raise InputError(f"{min(both)!r} is in both trained and held_out")
        return cls(**{name: dict(part) for name, part in values.items()})

    def _check(self, recorded: Mapping[str, str], train: Split) -> None:
        if problems := _differences(recorded, train):
            raise InputError(problems[min(problems)])


def _differences(recorded: Mapping[str, str], train: Split) -> dict[str, str]:
    """Return the problem of each recorded file that `train` lacks or has with other content."""
    now = dict(zip(train.paths, train.hashes, strict=True))
    return {
        path: f"{path}: {'changed' if path in now else 'missing'} since the run was trained; "
        "restore it or train a new run"
        for path, recorded_hash in recorded.items()
        if now.get(path) != recorded_hash
    }


def _take(train: Split, paths: Iterable[str]) -> Split:
    """The images of these paths, in their order."""
    index = {path: i for i, path in enumerate(train.paths)}
    return train.take(np.array([index[path] for path in paths]))


def _check_part(name: str, part: Any) -> None:
    """Raises InputError unless `part` maps paths to hashes, at least one."""
    if not isinstance(part, dict) or not part:
        raise InputError(f"{name} must be a JSON object with at least one path")
    for path, recorded_hash in part.items():
        if not isinstance(path, str):
            raise InputError(f"{name}: {path!r} must be a path")
        if not isinstance(recorded_hash, str) or not _SHA256.fullmatch(recorded_hash):
            raise InputError(f"{name}: {path!r} must have a SHA-256, 64 hex digits")

"""Results of a run's test, as its folder holds them, and what follows at the thresholds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer

from i3ad_jax.scoring.confusion import Confusion


@dataclass(frozen=True, eq=False)
class RunResults:
    """Results, settings, and the score of each test image.

    Attributes:
        name: name of the run for people.
        results: content of `results.json`.
        config: content of `config.json`.
        paths: of the test images, unique.
        labels: 0 for each normal image, 1 for each anomalous one.
        defects: the class of each image.
        scores: the image scores by kind.
    """

    name: str
    results: Mapping[str, Any]
    config: Mapping[str, Any]
    paths: tuple[str, ...]
    labels: Integer[np.ndarray, " n"]
    defects: tuple[str, ...]
    scores: Mapping[str, Float[np.ndarray, " n"]]

    @property
    def headline(self) -> str:
        """The name of the score to trust."""
        return self.results["headline"]

    def threshold(self, kind: str) -> float:
        """The default threshold of a score: an image above it is flagged."""
        return self.results["thresholds"][kind]

    def flagged(self, kind: str) -> Bool[np.ndarray, " n"]:
        """Return whether each image is above the default threshold of a score."""
        return self.scores[kind] > self.threshold(kind)

    def confusion(self, kind: str) -> Confusion:
        """The counts at the default threshold of a score."""
        return Confusion.of(self.labels, self.flagged(kind))

    def outcomes(self, kind: str) -> list[str]:
        """Outcome of each image at the default threshold: found, missed, false alarm or passed."""
        names = (("passed", "false alarm"), ("missed", "found"))
        pairs = zip(self.labels.tolist(), self.flagged(kind).tolist(), strict=True)
        return [names[label][above] for label, above in pairs]

    def margins(self, kind: str) -> Float[np.ndarray, " n"]:
        """Return each score's margin to its default threshold: least for the worst mistake.

        It is positive on the right side.
        """
        distance = self.scores[kind] - self.threshold(kind)
        return np.where(self.labels == 1, distance, -distance)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings as one flat dict, names of nested ones joined by dots."""
        return flatten(self.config)


def flatten(values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= flatten(value, prefix=f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat

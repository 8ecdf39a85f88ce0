"""When an image counts as anomalous: by which score, above which threshold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from i3ad_jax.calibration.calibration import Calibration
from i3ad_jax.calibration.thresholds import DEFECT_QUANTILE, FalseAlarms, defect_threshold, false_alarms
from i3ad_jax.settings import SettingError, Settings, setting


@dataclass(frozen=True)
class VerdictSettings(Settings):
    """How verdicts are made; none of it needs another training."""

    score: str | None = None
    """Which score the verdict, the map and the picture show, by default the run's headline. All scores are
    given beside it."""
    quantile: float = setting(DEFECT_QUANTILE, above=0, below=1)
    """The threshold is this quantile of the scores of the normal images that were kept out of training."""
    threshold: float | None = None
    """The threshold itself, in the units of the score, in place of a quantile."""


class Rule(NamedTuple):
    """When an image counts as anomalous.

    Attributes:
        score: the name of the score.
        threshold: above it an image is anomalous.
        source: where the threshold came from, for people.
        false_alarms: what part of normal images it calls anomalous.
    """

    score: str
    threshold: float
    source: str
    false_alarms: FalseAlarms

    @classmethod
    def of(cls, calibration: Calibration, settings: VerdictSettings) -> "Rule":
        """The rule that the settings ask for.

        Raises:
            SettingError: there is no such score.
        """
        score = settings.score or calibration.headline
        if score not in calibration.held_out_scores:
            known = ", ".join(calibration.held_out_scores)
            raise SettingError("score", score, f"no score of this run; one of {known}")
        normal = calibration.held_out_scores[score]
        if settings.threshold is None:
            threshold = defect_threshold(normal, quantile=settings.quantile)
            source = f"the {settings.quantile:g} quantile of {len(normal)} held-out normal images"
        else:
            threshold, source = settings.threshold, "given by --threshold"
        return cls(score, threshold, source, false_alarms(normal, threshold))

    def is_anomalous(self, scores: Mapping[str, float]) -> bool:
        """Whether an image with these scores, by name, counts as anomalous."""
        return scores[self.score] > self.threshold

    def describe(self) -> str:
        """One sentence for people."""
        rate, low, high = (f"{100 * value:.1f} %" for value in self.false_alarms)
        return (
            f"anomalous: {self.score} above {self.threshold:.4g} ({self.source}), which {rate} of held-out"
            f" normal images exceed (95 % confidence interval {low} to {high})"
        )

"""`Rule`: the one place that decides whether an image is anomalous, and which pixels of it are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from i3ad_jax.calibration.calibration import Calibration
from i3ad_jax.calibration.thresholds import (
    DEFECT_QUANTILE,
    FalseAlarms,
    defect_threshold,
    false_alarms,
)
from i3ad_jax.settings import SettingError, Settings, setting


@dataclass(frozen=True)
class VerdictSettings(Settings):
    """Decision whether an image is anomalous, by default the run's; no training depends on it."""

    score: str | None = None
    """Score that the verdict, the map and the picture show; by default the run's selected score.
    All scores are written beside it."""
    quantile: float | None = setting(None, above=0, below=1)
    """The threshold is this quantile of the scores of the calibration images; by default 0.95."""
    threshold: float | None = None
    """The threshold itself, in the units of the score, instead of a quantile."""
    unusable: Literal["mark", "ignore"] | None = None
    """Pictures that are lit, coloured, focused or framed unlike the normal images: mark, they are
    neither normal nor anomalous; ignore, only the score decides. By default mark."""

    @property
    def marks_unusable(self) -> bool:
        """True if unusable pictures are neither normal nor anomalous."""
        return self.unusable != "ignore"

    def over(self, stored: "VerdictSettings") -> "VerdictSettings":
        """Return these settings, with `stored` ones where nothing is given.

        A stored threshold is in the units of its score: it goes where another score or quantile is
        given.
        """
        score = self.score or stored.score
        quantile = stored.quantile if self.quantile is None else self.quantile
        kept = stored.threshold if score == stored.score and self.quantile is None else None
        threshold = kept if self.threshold is None else self.threshold
        return VerdictSettings(score, quantile, threshold, self.unusable or stored.unusable)


DEFAULT_VERDICT = VerdictSettings()


class Rule(NamedTuple):
    """Decision whether an image is anomalous, and which regions of it.

    Attributes:
        score: name of the score that decides.
        threshold: an image is anomalous if its score is above.
        source: origin of the threshold, for people.
        false_alarms: fraction of the calibration images that are called anomalous.
        pixel_threshold: pixels of the map are part of a region if they are above: the same quantile
            of the maxima of the calibration images' maps. None for a run that was calibrated
            without.
    """

    score: str
    threshold: float
    source: str
    false_alarms: FalseAlarms
    pixel_threshold: float | None

    @classmethod
    def of(cls, calibration: Calibration, settings: VerdictSettings) -> "Rule":
        """Return the rule that the settings ask for.

        Raises:
            SettingError: the run has no such score.
        """
        score = settings.score or calibration.headline
        if score not in calibration.held_out_scores:
            known = ", ".join(calibration.held_out_scores)
            raise SettingError("score", score, f"this run has no such score; one of {known}")
        normal = calibration.held_out_scores[score]
        quantile = DEFECT_QUANTILE if settings.quantile is None else settings.quantile
        if settings.threshold is None:
            threshold = defect_threshold(normal, quantile=quantile)
            source = f"the {quantile:g} quantile of {len(normal)} calibration images"
        else:
            threshold, source = settings.threshold, "given by --threshold"
        peaks = calibration.held_out_peaks.get(score)
        pixel_threshold = None if peaks is None else defect_threshold(peaks, quantile=quantile)
        return cls(score, threshold, source, false_alarms(normal, threshold), pixel_threshold)

    def is_anomalous(self, scores: Mapping[str, float]) -> bool:
        """Return whether an image with these scores, by name, is anomalous."""
        return scores[self.score] > self.threshold

    def describe(self) -> str:
        """Return one sentence for people."""
        rate, low, high = (f"{100 * value:.1f} %" for value in self.false_alarms)
        return (
            f"anomalous: {self.score} above {self.threshold:.4g} ({self.source}), which {rate} of"
            f" the calibration images exceed (95 % confidence interval {low} to {high})"
        )

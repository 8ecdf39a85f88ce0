"""`Rule`: the one place that decides whether an image is anomalous, and which pixels of it are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from i3ad_jax.calibration.calibration import Calibration
from i3ad_jax.calibration.thresholds import DEFECT_QUANTILE, defect_threshold, false_alarms
from i3ad_jax.errors import did_you_mean
from i3ad_jax.scoring.rates import Rate, images_to_confirm
from i3ad_jax.settings import SettingError, Settings, setting

_RARE = 0.01  # rate of false alarms; a rule says how many images confirm it


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


@dataclass(frozen=True)
class VerdictOptions(VerdictSettings):
    """Decision whether an image is anomalous, by default the run's; no training depends on it."""

    false_alarms: float | None = setting(None, above=0, below=1)
    """Rate of false alarms that the threshold is set for, such as 0.01: the same as --quantile
    0.99."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.false_alarms is not None and self.quantile is not None:
            raise SettingError(
                "false_alarms", self.false_alarms, "give this or --quantile, not both"
            )

    def over(self, stored: VerdictSettings) -> VerdictSettings:
        """Return these settings as a quantile, with `stored` ones where nothing is given."""
        quantile = self.quantile if self.false_alarms is None else 1 - self.false_alarms
        given = VerdictSettings(self.score, quantile, self.threshold, self.unusable)
        return given.over(stored)


class Rule(NamedTuple):
    """Decision whether an image is anomalous, and which regions of it.

    Attributes:
        score: name of the score that decides.
        threshold: an image is anomalous if its score is above.
        source: origin of the threshold, for people.
        false_alarms: fraction of the calibration images that are called anomalous.
        goal: rate of false alarms for which `describe` says how many images confirm it.
        pixel_threshold: pixels of the map are part of a region if they are above: the same quantile
            of the maxima of the calibration images' maps. None for a run that was calibrated
            without.
    """

    score: str
    threshold: float
    source: str
    false_alarms: Rate
    pixel_threshold: float | None
    goal: float = _RARE

    @classmethod
    def of(cls, calibration: Calibration, settings: VerdictSettings) -> "Rule":
        """Return the rule that the settings ask for.

        Raises:
            SettingError: the run has no such score.
        """
        score = settings.score or calibration.headline
        if score not in calibration.held_out_scores:
            known = calibration.held_out_scores
            problem = f"this run has no such score; one of {', '.join(known)}"
            raise SettingError("score", score, problem + did_you_mean(score, known))
        normal = calibration.held_out_scores[score]
        quantile = DEFECT_QUANTILE if settings.quantile is None else settings.quantile
        if settings.threshold is None:
            threshold = defect_threshold(normal, quantile=quantile)
            source = f"the {quantile:g} quantile of {len(normal)} calibration images"
        else:
            threshold, source = settings.threshold, "given by --threshold"
        peaks = calibration.held_out_peaks.get(score)
        pixel_threshold = None if peaks is None else defect_threshold(peaks, quantile=quantile)
        found, goal = false_alarms(normal, threshold), min(_RARE, 1 - quantile)
        return cls(score, threshold, source, found, pixel_threshold, goal)

    def is_anomalous(self, scores: Mapping[str, float]) -> bool:
        """Return whether an image with these scores, by name, is anomalous."""
        return scores[self.score] > self.threshold

    def describe(self) -> str:
        """Return the rule, and how often it raises false alarms, in words."""
        found = self.false_alarms
        exceed = "exceeds" if found.number == 1 else "exceed"
        words = (
            f"anomalous: {self.score} above {self.threshold:.4g} ({self.source}). {found.number} of"
            f" {found.total} calibration images {exceed} it ({100 * found.rate:.1f} %); the true"
            f" rate of false alarms is {found.interval} (95 % interval)."
        )
        if (missing := images_to_confirm(self.goal) - found.total) > 0:
            words += (
                f" To confirm {100 * self.goal:.3g} % or less, collect at least {missing} more."
            )
        return words

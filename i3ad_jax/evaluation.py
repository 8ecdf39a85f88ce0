# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`Evaluation`: metrics of a detector on labelled images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, Num

from i3ad_jax.calibration.verdict import Rule
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.stored import Rows
from i3ad_jax.errors import InputError, optional_package
from i3ad_jax.scoring.confusion import Confusion

ALL = "all"  # defect class of a row of metrics that covers every anomalous image


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Scores and metrics of a detector on labelled images.

    Attributes:
        name: of the data.
        rule: score and threshold that decide.
        paths: of the images, or their positions.
        labels: 0 for each normal image, 1 for each anomalous one.
        defects: the defect class of each image; "good" is a normal one.
        scores: image scores by name.
        metrics: by the name of the score, as `scoring.metrics.summarise` returns them.
    """

    name: str
    rule: Rule
    paths: tuple[str, ...]
    labels: Integer[np.ndarray, " n"]
    defects: tuple[str, ...]
    scores: Mapping[str, Float[np.ndarray, " n"]]
    metrics: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(
        cls,
        name: str,
        test: Split,
        maps: Mapping[str, Num[Rows, "n h w"]],
        scores: Mapping[str, Float[np.ndarray, " n"]],
        *,
        rule: Rule,
        thresholds: Mapping[str, float],
    ) -> "Evaluation":
        """Measure maps and scores of labelled images.

        Args:
            name: of the data.
            test: labelled images.
            maps: of these images, by the name of the score.
            scores: of these images, by the name of the score.
            rule: threshold and score that decide.
            thresholds: of every score.
        """
        # scikit-learn takes most of a second to import
        from i3ad_jax.scoring.metrics import summarise

        found = summarise(test, maps, scores, thresholds)
        return cls(name, rule, test.paths, test.labels, test.defects, scores, found)

    @property
    def confusion(self) -> Confusion:
        """Numbers of images at the rule's threshold."""
        return Confusion.of(self.labels, self.scores[self.rule.score] > self.rule.threshold)

    def metric(self, name: str, *, score: str | None = None, defect: str = ALL) -> float | None:
        """Return one metric.

        Args:
            name: image_auroc, image_ap, f1, recall_at_1, recall_at_5, recall_at_10 (recall at a
                false-alarm rate of 1, 5 or 10 %), pixel_auroc or pixel_aupro.
            score: name of the score; by default the one that decides.
            defect: a defect class, measured against all normal images; by default all.

        Returns:
            The metric, or None if the data cannot give it: it has one class only, or no masks.

        Raises:
            InputError: there is no such metric, score or defect class.
        """
        for row in self.rows():
            if (row["score"], row["defect"]) == (score or self.rule.score, defect) and name in row:
                return row[name]
        known = ", ".join(row["defect"] for row in self.rows() if row["score"] == self.rule.score)
        raise InputError(
            f"metric {name}, score {score}, defect {defect}: not measured; defects: {known}"
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each score and defect class: the columns of `to_dataframe`."""
        for score, own in self.metrics.items():
            whole = {name: value for name, value in own.items() if name != "per_defect"}
            for defect, values in {ALL: whole, **own["per_defect"]}.items():
                yield {"score": score, "defect": defect, **values}

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single scores as JSON values."""
        return {
            "data": self.name,
            "normal": int((self.labels == 0).sum()),
            "anomalous": int((self.labels == 1).sum()),
            "score": self.rule.score,
            "threshold": self.rule.threshold,
            "confusion": self.confusion._asdict(),
            "metrics": {name: dict(own) for name, own in self.metrics.items()},
        }

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row for each score and defect class.

        Raises:
            InputError: pandas is not installed.
        """
        pandas = optional_package("pandas", "to_dataframe: needs pandas; pip install pandas")
        return pandas.DataFrame(list(self.rows()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Evaluation):
            return NotImplemented
        return self.to_dict() == other.to_dict() and all(
            np.array_equal(own, other.scores[name]) for name, own in self.scores.items()
        )

    def __hash__(self) -> int:
        return hash((self.name, self.rule, self.paths))

    def __repr__(self) -> str:
        found, auroc = self.confusion, self.metric("image_auroc")
        shown = "unknown" if auroc is None else f"{auroc:.4f}"
        anomalous, normal = (int((self.labels == label).sum()) for label in (1, 0))
        return (
            f"Evaluation({self.name}, {len(self.paths)} images, {self.rule.score}: image AUROC"
            f" {shown}; above {self.rule.threshold:.4g}: {found.misses} of {anomalous} missed,"
            f" {found.false_alarms} of {normal} false alarms)"
        )

    def _repr_html_(self) -> str:
        rows = list(self.rows())
        head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(_text(value))}</td>' for value in row.values())}</tr>"
            for row in rows
        )
        return f"<p>{escape(repr(self))}</p><table><tr>{head}</tr>{body}</table>"


def _text(value: object) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

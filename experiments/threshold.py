"""`python -m experiments.threshold`: AUROC by the threshold u, and the rule's choice (Figure 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import markdown
from experiments.comparison import Cell
from experiments.finding import Finding, over_seeds, publish
from experiments.study import LoopFlags, Subject, folders, load_seeds
from experiments.trajectories import MEAN, METRICS, SCORES, auroc
from i3ad_jax import command_line
from i3ad_jax.calibration.calibration import plain_anomaly_maps
from i3ad_jax.errors import InputError

PROGRAM = "python -m experiments.threshold"
CLOSE = 0.01  # AUROC: the rule is good if it comes this near to the best u


@dataclass(frozen=True)
class Flags(LoopFlags):
    """AUROC with each u that the rule can choose, and with its own choice: the paper's Figure 5.

    The rule looks at each run's held-out normal images alone; training applied it.
    """


@dataclass(frozen=True)
class Curves:
    """Measurements for each u that the rule chose from.

    Attributes:
        candidates: these u.
        auroc: of the test images, by metric and score.
        errors: mean L1 error of held-out normal images, in [0, 1], from which the rule chooses.
        chosen: the rule's choice, as a position in `candidates`.
        tolerance: of the rule.
    """

    candidates: Sequence[float]
    auroc: Mapping[tuple[str, str], Float[np.ndarray, "seeds u"]]
    errors: Float[np.ndarray, "seeds u"]
    chosen: Sequence[int]
    tolerance: float

    def gaps(self, names: tuple[str, str]) -> Cell:
        """AUROC of the best u, which only test images can tell, less that of the rule's."""
        areas = self.auroc[names]
        return over_seeds((areas.max(axis=1) - areas[range(len(areas)), self.chosen]).tolist())

    def at_choice(self, names: tuple[str, str]) -> Cell:
        """AUROC with the rule's u."""
        areas = self.auroc[names]
        return over_seeds(areas[range(len(areas)), self.chosen].tolist())


def measure(subject: Subject) -> Curves:
    """Tests every run with every u.

    Raises:
        InputError: the u of a run was given, not chosen by the rule.
    """
    for run in subject.runs:
        if "u_errors" not in run.detector.calibration.tuned:
            raise InputError(
                f"--runs {run.folder.path}: its u was given by --u; train one without that"
            )
    test, detectors = subject.data.test, [run.detector for run in subject.runs]
    tuned = [detector.calibration.tuned for detector in detectors]
    candidates = [float(u) for u in tuned[0]["u_errors"]]
    found = []
    with tqdm(total=len(detectors) * len(candidates), unit="run") as progress:
        for detector, u in product(detectors, candidates):
            progress.set_description(f"u = {u:.2f}")
            trained = detector.plan.trained(detector.state, step=detector.calibration.step)
            maps = plain_anomaly_maps(trained, {"u": u}, test.images[:])
            found.append(auroc(test, {score: maps[score] for score in SCORES}))
            progress.update()
    shape = (len(detectors), len(candidates))
    return Curves(
        candidates=candidates,
        auroc={names: np.reshape([areas[names] for areas in found], shape) for names in found[0]},
        errors=np.array([list(of["u_errors"].values()) for of in tuned]),
        chosen=[candidates.index(of["u"]) for of in tuned],
        tolerance=detectors[0].config.flat()["u_tolerance"],
    )


def conclude(curves: Curves) -> str:
    """Sentences on the rule's u and its distance from the best one."""
    chosen = markdown.listed([f"{curves.candidates[i]:.2f}" for i in curves.chosen])
    sentences = [f"The rule chose u = {chosen} on held-out normal images."]
    if missed := int((curves.errors.min(axis=1) >= curves.tolerance).sum()):
        sentences.append(
            f"In {missed} of {len(curves.errors)} runs no u has an L1 error below"
            f" {curves.tolerance:g}: it took the one with the smallest, from which the largest"
            f" differs by {np.ptp(curves.errors, axis=1).max():.2g} at most."
        )
    for metric in METRICS:
        gap = curves.gaps((metric, MEAN))
        if gap.mean is None:
            continue
        areas = curves.auroc[metric, MEAN]
        best = markdown.listed([f"{curves.candidates[i]:.2f}" for i in areas.argmax(axis=1)])
        verdict = "within" if gap.mean <= CLOSE else "not within"
        sentences.append(
            f"Its {metric} AUROC, L2 and SSIM averaged, is {curves.at_choice((metric, MEAN))}:"
            f" {gap} less than with the best u ({best}), {verdict} {CLOSE}; from the worst to the"
            f" best u it rises by {over_seeds((areas.max(axis=1) - areas.min(axis=1)).tolist())}."
        )
    return " ".join(sentences)


def draw(figure: Figure, curves: Curves) -> None:
    """Draw a panel for each metric, with the rule's choices, and one for the rule's error."""
    us, panels = curves.candidates, figure.subplots(1, len(METRICS) + 1)
    for axes, metric in zip(panels, METRICS, strict=False):
        for (of, score), areas in curves.auroc.items():
            if of == metric:
                sd = areas.std(axis=0, ddof=1) if len(areas) > 1 else None
                axes.errorbar(us, areas.mean(axis=0), sd, label=score, capsize=2, linewidth=1.4)
        axes.set_title(f"{metric} AUROC", loc="left", fontsize=9)
    panels[0].legend(fontsize=7)
    for index, errors in enumerate(curves.errors):
        panels[-1].plot(us, errors, color="grey", label=None if index else "L1 error, each run")
    panels[-1].axhline(
        curves.tolerance, color="black", linestyle="--", linewidth=1, label="tolerance"
    )
    panels[-1].set_title("L1 error of held-out normal images", loc="left", fontsize=9)
    panels[-1].legend(fontsize=7)
    for axes in panels:
        for u in {us[i] for i in curves.chosen}:
            axes.axvline(u, color="tab:red", linestyle=":", linewidth=1.2)
        axes.set_xlabel("u (dotted: the rule's choices)")


def report(curves: Curves) -> Finding:
    """The study's figure, numbers and conclusion."""
    names, us = list(curves.auroc), curves.candidates
    columns = [f"{metric} {score}" for metric, score in names]
    measured = [curves.errors, *(curves.auroc[n] for n in names)]
    cells = [[over_seeds(values[:, i].tolist()) for values in measured] for i in range(len(us))]
    rows = [[f"{u:.2f}", *line] for u, line in zip(us, cells, strict=True)]
    rows.append(["the rule's", "", *(curves.at_choice(n) for n in names)])
    rows.append(["best less the rule's", "", *(curves.gaps(n) for n in names)])
    header = [
        f"{name}_{part}".replace(" ", "_auroc_") for name in columns for part in ("mean", "sd")
    ]
    lines = [
        [u, *(x for cell in line for x in (cell.mean, cell.sd))]
        for u, line in zip(us, cells, strict=True)
    ]
    return Finding(
        title="AUROC by the threshold u of the mask",
        conclusion=conclude(curves),
        parts=[
            "AUROC, mean ± standard deviation over seeds. The best u is each seed's own, for each"
            " column.",
            markdown.table(["u", "L1 error", *columns], rows),
        ],
        header=["u", "l1_error_mean", "l1_error_sd", *header],
        lines=lines,
        draw=lambda figure: draw(figure, curves),
        size=(10, 3.2),
    )


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    subject = load_seeds(folders(flags), base=flags.base)
    publish(report(measure(subject)), flags, subject, study="threshold", arguments=arguments)


if __name__ == "__main__":
    command_line.run(main)

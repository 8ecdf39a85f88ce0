"""`python -m experiments.checkerboard`: AUROC by iteration and checkerboard size (Figure 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import markdown
from experiments.finding import Finding, over_seeds, publish
from experiments.study import LoopFlags, Subject, folders, load_seeds, settings, with_settings
from experiments.trajectories import METRICS, auroc_curves, trajectories
from i3ad_jax import command_line
from i3ad_jax.errors import InputError

PROGRAM = "python -m experiments.checkerboard"
SHOWN = (0, 1, 2, 5, 10, 20, 30)  # iterations in the table

# Patches: metric and score: AUROC by seed and iteration.
Curves = Mapping[int, Mapping[tuple[str, str], Float[np.ndarray, "seeds t"]]]


@dataclass(frozen=True)
class Flags(LoopFlags):
    """AUROC after each iteration from checkerboards of several sizes: the paper's Figure 4.

    u is the same for all of them.
    """

    patches: tuple[int, ...] = (2, 4, 6, 8, 10, 12)
    """Checkerboards: how many patches along each side."""


def measure(subject: Subject, checkerboards: Sequence[int]) -> Curves:
    """The AUROC after each iteration, from one trajectory for each image, checkerboard and run."""
    test, curves = subject.data.test, {}
    with tqdm(total=len(checkerboards) * len(subject.runs), unit="run") as progress:
        for patches in checkerboards:
            progress.set_description(f"{patches} patches")
            of_seeds = []
            for run in subject.runs:
                detector = with_settings(run.detector, patches=patches)
                of_seeds.append(auroc_curves(test, trajectories(detector, test.images[:])))
                progress.update()
            curves[patches] = {
                names: np.stack([c[names] for c in of_seeds]) for names in of_seeds[0]
            }
    return curves


def spread(curves: Curves, names: tuple[str, str]) -> Float[np.ndarray, "seeds t"]:
    """Largest less smallest AUROC over the checkerboards, by seed and iteration."""
    every = np.stack([of_patches[names] for of_patches in curves.values()])
    return every.max(axis=0) - every.min(axis=0)


def conclude(curves: Curves, *, smallest: int) -> str:
    """The paper's claim of Figure 4 in our numbers: does the spread over checkerboards fall?

    Args:
        smallest: patches of the coarsest checkerboard, which is also left out once.
    """
    sentences = []
    for metric in METRICS:
        names = (metric, "mean")
        spreads = spread(curves, names)
        start, end = (over_seeds(spreads[:, i].tolist()) for i in (0, -1))
        last = spreads.shape[1] - 1
        sentences.append(
            f"The mean of the {metric} AUROC of L2 and SSIM spreads by {start} over the"
            f" checkerboards after the checkerboard pass and by {end} after {last} iterations."
        )
        if len(curves) > 2:
            others = {patches: of for patches, of in curves.items() if patches != smallest}
            start, end = (over_seeds(spread(others, names)[:, i].tolist()) for i in (0, -1))
            sentences.append(f"Without the one of {smallest} patches: {start} and {end}.")
    return " ".join(sentences)


def draw(figure: Figure, curves: Curves) -> None:
    """A row of panels for each metric, a panel for each score, a line for each checkerboard."""
    scores = dict.fromkeys(score for _, score in next(iter(curves.values())))
    panels = figure.subplots(len(METRICS), len(scores), sharex=True, sharey="row", squeeze=False)
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(curves)))
    for (row, metric), (column, score) in product(enumerate(METRICS), enumerate(scores)):
        axes = panels[row, column]
        for colour, (patches, of_patches) in zip(colours, curves.items(), strict=True):
            values = of_patches[metric, score]
            mean, iterations = values.mean(axis=0), range(values.shape[1])
            axes.plot(iterations, mean, color=colour, label=f"{patches} x {patches}", linewidth=1.4)
            if len(values) > 1:
                sd = values.std(axis=0, ddof=1)
                axes.fill_between(
                    iterations, mean - sd, mean + sd, color=colour, alpha=0.1, linewidth=0
                )
        axes.set_title(f"{metric} AUROC, {score}", loc="left", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("iteration")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", title="patches")


def report(curves: Curves) -> Finding:
    """The study's figure, numbers and conclusion."""
    smallest = min(curves)
    length = next(iter(curves[smallest].values())).shape[1]
    shown = sorted({i for i in SHOWN if i < length} | {length - 1})
    scores = dict.fromkeys(score for _, score in curves[smallest])
    parts = ["Mean ± standard deviation over seeds; L2 and SSIM averaged, as in Figure 4 (a)."]
    for metric in METRICS:
        rows = [
            [patches, *(over_seeds(of[metric, "mean"][:, i].tolist()) for i in shown)]
            for patches, of in curves.items()
        ]
        spreads = spread(curves, (metric, "mean"))
        rows.append(["spread", *(over_seeds(spreads[:, i].tolist()) for i in shown)])
        header = [f"{metric} AUROC: patches", *(f"iteration {i}" for i in shown)]
        parts.append(markdown.table(header, rows))
    lines = []
    for (patches, of), score, iteration in product(curves.items(), scores, range(length)):
        cells = [over_seeds(of[metric, score][:, iteration].tolist()) for metric in METRICS]
        lines.append(
            [patches, score, iteration, *(x for cell in cells for x in (cell.mean, cell.sd))]
        )
    figures = [f"{metric}_auroc_{part}" for metric in METRICS for part in ("mean", "sd")]
    return Finding(
        title="AUROC by iteration from checkerboards of several sizes",
        conclusion=conclude(curves, smallest=smallest),
        parts=parts,
        header=["patches", "score", "iteration", *figures],
        lines=lines,
        draw=lambda figure: draw(figure, curves),
        size=(10, 5.6),
    )


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    if not flags.patches:
        raise InputError("--patches: no value given; name at least one or leave it out")
    stored = settings(flags)
    for patches in flags.patches:
        stored.with_settings({"patches": patches})  # refuses what the loop cannot work with
    subject = load_seeds(folders(flags), base=flags.base)
    finding = report(measure(subject, flags.patches))
    publish(finding, flags, subject, study="checkerboard", arguments=arguments)


if __name__ == "__main__":
    command_line.run(main)

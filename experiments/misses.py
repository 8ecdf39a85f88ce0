"""`python -m experiments.misses`: pictures of the test images that finished runs judge worst."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from jaxtyping import Float, Integer
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments.runs import writing
from i3ad_jax import command_line
from i3ad_jax.data.dataset import Split
from i3ad_jax.errors import InputError
from i3ad_jax.pictures import overlay
from i3ad_jax.report.run_report import read_maps, read_test
from i3ad_jax.runs.files import write_csv
from i3ad_jax.runs.results import read_results
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runs.run_results import RunResults
from i3ad_jax.scoring.maps import COMBINED

PROGRAM = "python -m experiments.misses"
COUNT = 10  # images of each class
HEAT_LIMIT = COMBINED.heat_limit / 2  # of all runs; what is missed is faint
CELL = 1.9  # inches of a picture's side
COLUMNS = ("path", "defect", "score", "rank", "threshold")
TITLES = {1: "Anomalous, lowest scores", 0: "Normal, highest scores"}


@dataclass(frozen=True)
class Flags:
    """Show the worst-ranked test images of each run: possible misses and false alarms.

    They are the ten anomalous images with the lowest combined score and the ten normal ones with
    the highest. Write a picture of them for each run, DATA-RUN.jpg, and their scores, misses.csv.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, or of results of evaluate."""
    out: Path
    """Folder for the results."""


class Worst(NamedTuple):
    """The worst-ranked test images of a run.

    Attributes:
        run: its results.
        indices: of the images, by label; the worst one first.
    """

    run: RunResults
    indices: dict[int, Integer[np.ndarray, " k"]]

    @classmethod
    def of(cls, run: RunResults, *, count: int = COUNT) -> "Worst":
        """Return at most `count` images of each label. Of equal scores the first one is worse."""
        scores = run.scores[COMBINED.name]
        worst_first = {1: np.argsort(scores, kind="stable"), 0: np.argsort(-scores, kind="stable")}
        return cls(
            run,
            {
                label: order[run.labels[order] == label][:count]
                for label, order in worst_first.items()
            },
        )

    def rows(self) -> list[list[Any]]:
        """Return the values of `COLUMNS`; the rank is among all test images, 1 for the highest."""
        run, scores = self.run, self.run.scores[COMBINED.name]
        ranks, threshold = 1 + (scores > scores[:, None]).sum(axis=1), run.threshold(COMBINED.name)
        return [
            [run.paths[i], run.defects[i], scores[i], ranks[i], threshold]
            for order in self.indices.values()
            for i in order.tolist()
        ]


def draw(figure: Figure, worst: Worst, test: Split, maps: Float[Any, "n h w"]) -> None:
    """Draw a row of photographs and a row of combined maps for each label.

    Args:
        figure: to draw on.
        worst: the images shown.
        test: all test images of the run.
        maps: their combined maps.
    """
    run, name = worst.run, COMBINED.name
    threshold, flagged = run.threshold(name), run.flagged(name)
    blocks = figure.subfigures(len(worst.indices), 1, squeeze=False)[:, 0]
    for block, (label, order) in zip(blocks, worst.indices.items(), strict=True):
        members = run.labels == label
        wrong = int((flagged != run.labels)[members].sum())
        block.suptitle(
            f"{TITLES[label]}; {wrong} of {members.sum()} images are on the wrong side of the"
            f" threshold {threshold:.2f}. Colours of the map: 0 to {HEAT_LIMIT:g}.",
            fontsize=11,
        )
        panels = block.subplots(2, COUNT)
        for axes in panels.flat:
            axes.set(xticks=[], yticks=[], frame_on=False)
        for (above, below), i in zip(panels.T, order.tolist(), strict=False):
            image = test.images[i]
            for axes, pixels in (above, image), (below, overlay(image, maps[i], vmax=HEAT_LIMIT)):
                axes.imshow(pixels)
                if test.masks[i].any():
                    axes.contour(test.masks[i], levels=[0.5], colors="lime", linewidths=0.6)
            mark = " (wrong)" if flagged[i] != label else ""
            text = f"{run.scores[name][i]:.2f}{mark}\n{run.defects[i]}\n{Path(run.paths[i]).name}"
            below.set_xlabel(text, fontsize=8)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, writes a picture for each run and the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    if not flags.runs:
        raise InputError("RUN: name the folder of a run, or of several")
    out, lines = flags.out, list[list[Any]]()
    pictures: dict[Path, Path] = {}
    with writing(out):
        pass
    for path in tqdm(flags.runs, unit="run"):
        folder = RunFolder(path)
        run = read_results(folder)
        if COMBINED.name not in run.scores:
            raise InputError(f"{folder.results}: has no combined score; evaluate the run again")
        data = Path(run.results["data"]).name.rpartition(":")[-1]
        file = out / f"{data}-{path.resolve().name}.jpg"
        if file in pictures:
            raise InputError(f"RUN {path}: {file} is the picture of {pictures[file]}; give one")
        pictures[file] = path
        test, worst = read_test(folder, run, progress=False), Worst.of(run)
        figure = Figure(figsize=(COUNT * CELL, 4 * CELL + 1.6), layout="constrained")
        draw(figure, worst, test, read_maps(folder, run, test, COMBINED.name))
        with writing(out):
            figure.savefig(file, dpi=100, pil_kwargs={"quality": 80, "optimize": True})
        lines += [[path, *row] for row in worst.rows()]
    with writing(out):
        write_csv(out / "misses.csv", ("run", *COLUMNS), lines)
    print("\n".join(map(str, (*pictures, out / "misses.csv"))))


if __name__ == "__main__":
    command_line.run(main)

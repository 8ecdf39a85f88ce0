"""`python -m experiments.snr`: signal, noise and masks at each iteration of the loop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import markdown
from experiments.comparison import Cell
from experiments.finding import Finding, over_seeds, publish
from experiments.study import LoopFlags, Subject, folders, load_seeds
from experiments.trajectories import Trajectories, trajectories
from i3ad_jax import command_line
from i3ad_jax.data.dataset import Split

PROGRAM = "python -m experiments.snr"
OF_MASKS = ("area", "empty", "changed", "subset", "inside")  # the figures that are about masks
SHOWN = (0, 1, 2, 3, 5, 10, 20, 30)  # iterations in the table

# Name of a figure: its value for each seed and iteration; NaN where it has none.
Measured = Mapping[str, Float[np.ndarray, "seeds t"]]


@dataclass(frozen=True)
class Flags(LoopFlags):
    """Scores of normal and of anomalous pixels, their ratio and the masks' area, by iteration.

    The study also shows whether masks shrink.
    """


def measure(subject: Subject) -> Measured:
    """All figures, from one trajectory for each image and run."""
    test, found = subject.data.test, []
    for run in tqdm(subject.runs, unit="run"):
        traced = trajectories(run.detector, test.images[:])
        masks = {**areas(test, traced.masks), **nesting(traced.masks)}
        found.append({**signal_to_noise(test, traced), **masks})
    return {name: np.stack([of_seed[name] for of_seed in found]) for name in found[0]}


def signal_to_noise(test: Split, traced: Trajectories) -> dict[str, Float[np.ndarray, " t"]]:
    """Return each score's mean over defect-free pixels, over defective pixels, and their ratio.

    The ratio is the second divided by the first. Pixels of annotated images, normal ones included.
    """
    figures = {}
    truth = test.masks[test.annotated]
    for score, maps in traced.maps.items():
        states = [maps[test.annotated, i] for i in range(maps.shape[1])]
        normal = np.array([state.mean(where=~truth, dtype=np.float64) for state in states])
        # An empty mean is NaN with a warning.
        defective = [
            state.mean(where=truth, dtype=np.float64) if truth.any() else np.nan for state in states
        ]
        figures[f"{score}_normal"], figures[f"{score}_anomalous"] = normal, np.array(defective)
        figures[f"{score}_ratio"] = _quotient(figures[f"{score}_anomalous"], normal)
    return figures


def areas(test: Split, masks: Bool[np.ndarray, "n t h w"]) -> dict[str, Float[np.ndarray, " t"]]:
    """Return masked area in percent and fraction without a mask, of normal and anomalous images."""
    area = 100 * masks.mean(axis=(2, 3))
    empty = area == 0
    figures = {}
    for label, group in enumerate(("normal", "anomalous")):
        chosen = test.labels == label
        figures |= {
            f"area_{group}": area[chosen].mean(axis=0),
            f"empty_{group}": empty[chosen].mean(axis=0),
        }
    return figures


def nesting(masks: Bool[np.ndarray, "n t h w"]) -> dict[str, Float[np.ndarray, " t"]]:
    """Overlap of each iteration's mask with the one before; from iteration 2 on, NaN before.

    The first mask of a score follows the checkerboard pass, which covers everything.

    Returns:
        `changed`: fraction of images whose mask is not the one before. `subset`: fraction of images
        whose mask is within the one before; `subset_changed`: of the changed ones. `inside`:
        fraction of all masked pixels that were masked before; `inside_changed`: of those in images
        whose mask changed.
    """
    before, now = masks[:, 1:-1], masks[:, 2:]
    changed = (before != now).any(axis=(2, 3))
    within = ~(now & ~before).any(axis=(2, 3))
    pixels, kept = now.sum(axis=(2, 3)), (now & before).sum(axis=(2, 3))
    figures = {
        "changed": changed.mean(axis=0),
        "subset": within.mean(axis=0),
        "subset_changed": _quotient((within & changed).sum(axis=0), changed.sum(axis=0)),
        "inside": _quotient(kept.sum(axis=0), pixels.sum(axis=0)),
        "inside_changed": _quotient((kept * changed).sum(axis=0), (pixels * changed).sum(axis=0)),
    }
    first = np.full(min(2, masks.shape[1]), np.nan)
    return {name: np.concatenate([first, values]) for name, values in figures.items()}


def _quotient(over: np.ndarray, under: np.ndarray) -> Float[np.ndarray, " t"]:
    """NaN where the divisor is 0."""
    return np.divide(over, under, out=np.full(len(under), np.nan), where=under > 0)


def conclude(measured: Measured) -> str:
    """Ratio, masks of normal images and nesting, first against last."""

    def at(name: str, iteration: int) -> Cell:
        return over_seeds(measured[name][:, iteration].tolist())

    def mean(name: str) -> Cell:
        return over_seeds(measured[name][:, 2:].mean(axis=1).tolist())

    last = measured["area_normal"].shape[1] - 1
    sentences = []
    for ratio in [
        name for name in measured if name.endswith("_ratio") and at(name, 0).mean is not None
    ]:
        rise = over_seeds((measured[ratio][:, -1] / measured[ratio][:, 0]).tolist())
        sentences.append(
            f"The {ratio.removesuffix('_ratio')} score of an anomalous pixel is {at(ratio, 0)}"
            f" times that of a normal one after the checkerboard pass and {at(ratio, -1)} times"
            f" after {last} iterations: a factor of {rise}."
        )
    sentences.append(
        f"The first mask covers {at('area_normal', min(1, last))} % of a normal image, the last one"
        f" {at('area_normal', -1)} %; {at('empty_normal', -1)} of the normal images have none at"
        f" the end. Of an anomalous image the last mask covers {at('area_anomalous', -1)} %."
    )
    if last >= 2:
        sentences.append(
            f"Of the second masks {at('subset', 2)} are within the first, and {at('inside', 2)} of"
            f" their pixels; from one iteration to the next on average {mean('subset')} and"
            f" {mean('inside')}. At the last iteration {at('changed', -1)} of the masks"
            " still change."
        )
    return " ".join(sentences)


def draw(figure: Figure, measured: Measured) -> None:
    """Panels of the ratios, of the masks' area and of their nesting."""
    ratios = [name for name in measured if name.endswith("_ratio")]
    shown = {
        "score of anomalous by score of normal pixels": ratios,
        "percent masked": ["area_normal", "area_anomalous"],
        "fraction within the mask before": ["subset", "inside", "inside_changed", "changed"],
    }
    labels = {
        **{name: name.removesuffix("_ratio") for name in ratios},
        **{"area_normal": "normal images", "area_anomalous": "anomalous images"},
        **{
            "subset": "of masks",
            "inside": "of pixels",
            "inside_changed": "of pixels of masks that changed",
        },
        "changed": "fraction of masks that changed",
    }
    for axes, (title, names) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        for name in names:
            values = measured[name]
            mean, iterations = values.mean(axis=0), np.arange(values.shape[1])
            if name.startswith("area"):
                mean[0] = np.nan  # the checkerboard pass covers everything
            (line,) = axes.plot(
                iterations, mean, label=labels[name], linewidth=1.4, marker=".", markersize=3
            )
            if len(values) > 1:
                sd, colour = values.std(axis=0, ddof=1), line.get_color()
                axes.fill_between(
                    iterations, mean - sd, mean + sd, alpha=0.15, linewidth=0, color=colour
                )
        axes.set_title(title, loc="left", fontsize=9)
        axes.set_xlabel("iteration")
        axes.legend(fontsize=7)


def report(measured: Measured) -> Finding:
    """The study's figure, numbers and conclusion."""
    names = list(measured)
    length = len(measured[names[0]][0])
    cells = [[over_seeds(measured[name][:, i].tolist()) for name in names] for i in range(length)]
    shown = sorted({i for i in SHOWN if i < length} | {length - 1})
    of_masks = [name for name in names if name.split("_")[0] in OF_MASKS]
    tables = [
        markdown.table(
            ["iteration", *(name.replace("_", " ") for name in columns)],
            [[i, *(cells[i][names.index(name)] for name in columns)] for i in shown],
        )
        for columns in ([name for name in names if name not in of_masks], of_masks)
    ]
    return Finding(
        title="Signal, noise and masks by iteration",
        conclusion=conclude(measured),
        parts=[
            "Mean ± standard deviation over seeds. `normal` and `anomalous` of a score: its mean"
            " over defect-free and over defective pixels. `area`: percent of the pixels that are"
            " masked; `empty`: fraction of images without a mask. `changed`: fraction of images"
            " whose mask is not the one before. `subset`: fraction of images whose mask is within"
            " the one before, and of those whose mask changed. `inside`: the same of masked"
            " pixels.",
            *tables,
        ],
        header=["iteration", *(f"{name}_{part}" for name in names for part in ("mean", "sd"))],
        lines=[
            [i, *(x for cell in line for x in (cell.mean, cell.sd))] for i, line in enumerate(cells)
        ],
        draw=lambda figure: draw(figure, measured),
        size=(11, 3.2),
    )


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    subject = load_seeds(folders(flags), base=flags.base)
    publish(report(measure(subject)), flags, subject, study="snr", arguments=arguments)


if __name__ == "__main__":
    command_line.run(main)

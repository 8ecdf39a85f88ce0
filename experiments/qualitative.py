"""`python -m experiments.qualitative`: pictures as in Figures 3, 6 and 7, for one dataset."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from tqdm import tqdm

from experiments import markdown
from experiments.finding import Finding, publish
from experiments.study import Flags as StudyFlags
from experiments.study import Loaded, Subject, folders, labelled_data
from i3ad_jax import Detector, command_line
from i3ad_jax.data.dataset import NORMAL, Split
from i3ad_jax.data.images import Size
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.masks import checkerboard_masks
from i3ad_jax.pictures import overlay
from i3ad_jax.prediction import Trace
from i3ad_jax.preprocessing.scales import enlarge
from i3ad_jax.runs.files import read_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.maps import SCORES

PROGRAM = "python -m experiments.qualitative"
METHODS = ("l2_ae", "l2_ae_projection", "i3ad")  # the paper's Figure 7
SHOWN_MASKS = (1, 2, 3, 5, 10, 30)  # iterations
HEAT_LIMIT = SCORES["ssim"].heat_limit  # one scale for all methods
CELL = 0.85  # inches of a picture's side


@dataclass(frozen=True)
class Flags(StudyFlags):
    """Picture of inputs with truth, each method's reconstructions and heat maps, I3AD's masks.

    A row for the normal images and for each class of defects: the image whose score is the median
    of its class in the run of i3ad.
    """

    runs: tuple[Path, ...] = ()
    """Folders of trained runs on the same data, one of each method to be shown, i3ad among them.
    Without any, the runs of l2_ae, l2_ae_projection and i3ad in OUT/runs, which are trained where
    they are missing."""
    seeds: tuple[int, ...] = (0,)
    """Without --runs: the seed of all runs; one."""


# Method: every state of its loop for the images.
Traces = Mapping[str, Trace]


def load_methods(chosen: Sequence[RunFolder]) -> Subject:
    """Runs of several methods on the same data, which is in the working size of i3ad.

    Raises:
        InputError: a run is not finished or shows other images than the first, or a method has two
            runs, or i3ad none.
    """
    configs = [folder.read_config() for folder in chosen]
    methods = [config.method for config in configs]
    if twice := [name for name in methods if methods.count(name) > 1]:
        raise InputError(f"--runs: {len(twice)} runs of {twice[0]}; give one of each method")
    if "i3ad" not in methods:
        raise InputError("--runs: no run of i3ad, whose masks and scores choose what is shown")
    sizes = [folder.read_plan().preprocessing.size for folder in chosen]
    for folder, config, size in zip(chosen, configs, sizes, strict=True):
        data, first = config.data, configs[0].data
        # Images that fill any size show the same in all sizes.
        same = size == sizes[0] or data.aspect == "stretch"
        if (data.data, data.aspect) != (first.data, first.aspect) or not same:
            raise InputError(
                f"--runs {folder.path}: other data, size or aspect than {chosen[0].path}"
            )
    data = labelled_data(chosen[methods.index("i3ad")])
    return Subject([Loaded.of(folder) for folder in chosen], data)


def median_images(test: Split, scores: Float[np.ndarray, " n"]) -> Integer[np.ndarray, " k"]:
    """Return the position of each class's median score (the lower of two), the normal one first."""
    defects = np.array(test.defects)
    classes = [NORMAL, *sorted({*test.defects} - {NORMAL})]
    members = [np.flatnonzero(defects == name) for name in classes]
    return np.array(
        [of[np.argsort(scores[of], kind="stable")[(len(of) - 1) // 2]] for of in members]
    )


def draw(figure: Figure, test: Split, traces: Traces, *, patches: int, seen: Size) -> None:
    """Draw the checkerboard pass of one image's first part of this size, and a row for each image.

    Args:
        figure: to draw on.
        test: the images shown.
        traces: of them.
        patches: of the checkerboards.
        seen: height and width of what i3ad's networks see of an image: all of it, or a tile.
    """
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, len(test)), squeeze=False)[:, 0]
    ours = traces["i3ad"]
    square = np.s_[: seen[0], : seen[1]]
    _draw_checkerboards(
        above, test.images[-1][square], ours.reconstructions[-1, 0][square], patches=patches
    )
    iterations = [i for i in SHOWN_MASKS if i in ours.iterations]
    panels = below.subplots(len(test), 1 + 2 * len(traces) + len(iterations), squeeze=False)
    titles = [
        "input",
        *(f"{method}\n{what}" for method in traces for what in ("output", "1 - SSIM")),
        *(f"mask\niteration {i}" for i in iterations),
    ]
    for axes, title in zip(panels[0], titles, strict=True):
        axes.set_title(title, fontsize=6)
    for i, row in enumerate(panels):
        pictures = [test.images[i]]
        for traced in traces.values():
            heat = overlay(test.images[i], traced.scores[i, -1], vmax=HEAT_LIMIT)
            pictures += [traced.reconstructions[i, -1], heat]
        pictures += [_grey(ours.masks[i, state]) for state in iterations]
        for axes, picture in zip(row, pictures, strict=True):
            _draw_picture(axes, picture)
        for axes in (row[0], *row[2 : 2 + 2 * len(traces) : 2]):  # input and heat maps
            if test.masks[i].any():
                axes.contour(test.masks[i], levels=[0.5], colors="lime", linewidths=0.7)
        row[0].set_ylabel(test.defects[i], fontsize=6)


def _draw_checkerboards(
    figure: SubFigure,
    image: UInt8[np.ndarray, "h w 3"],
    filled: UInt8[np.ndarray, "h w 3"],
    *,
    patches: int,
) -> None:
    """An image under each checkerboard, and its reconstruction from all four."""
    holes = (
        np.asarray(checkerboard_masks(height=len(image), width=image.shape[1], patches=patches)) > 0
    )
    pictures = [image, *np.where(holes, 0, image), filled]
    titles = ["input", *(f"checkerboard {i + 1}" for i in range(len(holes))), "all four filled"]
    for axes, picture, title in zip(
        figure.subplots(1, len(pictures)), pictures, titles, strict=True
    ):
        _draw_picture(axes, picture)
        axes.set_title(title, fontsize=6)


def _draw_picture(axes: Axes, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _grey(mask: Bool[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=-1)


def contrasts(test: Split, traces: Traces) -> list[tuple[str, str, str, float, float, float]]:
    """Return path, defect, method, mean SSIM score inside and outside the truth, and the ratio."""
    lines = []
    for i, (method, traced) in product(
        np.flatnonzero(test.masks[:].any(axis=(1, 2))), traces.items()
    ):
        truth, scores = test.masks[i], traced.scores[i, -1]
        inside, outside = (
            float(scores[pixels].mean(dtype=np.float64)) for pixels in (truth, ~truth)
        )
        lines.append((test.paths[i], test.defects[i], method, inside, outside, inside / outside))
    return lines


def conclude(subject: Subject, lines: Sequence[tuple]) -> str:
    """Contrast of the shown heat maps, and how well all of a method's maps rank pixels."""
    sentences = []
    for run in subject.runs:
        method = run.detector.config.method
        ratios = [line[-1] for line in lines if line[2] == method]
        area = read_json(run.folder.results)["scores"]["ssim"]["pixel_auroc"]
        if ratios and area is not None:
            sentences.append(
                f"{method}: 1 - SSIM inside the defects shown is {np.median(ratios):.1f} times"
                f" that outside (median); pixel AUROC of all test images {area:.3f}."
            )
    return " ".join(sentences) or "No test image has a mask to measure by."


def traced(detector: Detector, images: UInt8[np.ndarray, "n h w 3"]) -> Trace:
    """Return the states of a detector's loop in the size of these images, whatever its own is."""
    found, size = detector.trace(images), images.shape[1:3]

    def resized(states: np.ndarray) -> np.ndarray:
        return np.moveaxis(enlarge(np.moveaxis(states, 1, 3).astype(np.float32), size), 3, 1)

    return replace(
        found,
        reconstructions=resized(found.reconstructions).round().astype(np.uint8),
        masks=resized(found.masks) > 0.5,
        scores=resized(found.scores),
    )


def report(subject: Subject) -> Finding:
    """The picture, and the contrast of each map in it."""
    ours = next(run for run in subject.runs if run.detector.config.method == "i3ad")
    test = subject.data.test
    chosen = test.take(median_images(test, read_scores(ours.folder, test)))
    runs = tqdm(subject.runs, desc="trace", unit="run")
    traces = {run.detector.config.method: traced(run.detector, chosen.images[:]) for run in runs}
    lines = contrasts(chosen, traces)
    header = ["path", "defect", "method", "inside", "outside", "ratio"]
    preprocessing, side = ours.detector.preprocessing, ours.detector.preprocessing.side
    columns = 1 + 2 * len(traces) + sum(i in traces["i3ad"].iterations for i in SHOWN_MASKS)
    rows = [[*line[:3], *(f"{x:.3f}" for x in line[3:5]), f"{line[5]:.1f}"] for line in lines]
    return Finding(
        title="Reconstructions, heat maps and masks",
        conclusion=conclude(subject, lines),
        parts=[
            "One image of each class: the one with the median SSIM score of i3ad. Truth in green;"
            f" heat maps are 1 - SSIM from 0 to {HEAT_LIMIT:g}. Above, the checkerboard pass of the"
            " last image.",
            markdown.table(header, rows),
        ],
        header=header,
        lines=lines,
        draw=lambda figure: draw(
            figure,
            chosen,
            traces,
            patches=ours.detector.config.flat()["patches"],
            seen=preprocessing.size if preprocessing.whole else (side, side),
        ),
        size=(CELL * columns, CELL * (len(chosen) + 1.6)),
    )


def read_scores(folder: RunFolder, test: Split) -> Float[np.ndarray, " n"]:
    """SSIM scores that the run gave the test images.

    Raises:
        InputError: its `scores.csv` is missing or is about other images.
    """
    try:
        with folder.scores.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise InputError(
            f"{folder.scores}: cannot be read ({error.strerror}); test the run first"
        ) from error
    if [row["path"] for row in rows] != list(test.paths):
        raise InputError(
            f"{folder.scores}: is about other images than {folder.path} was trained for"
        )
    return np.array([float(row["ssim"]) for row in rows])


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, traces, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    if len(flags.seeds) != 1:
        raise InputError("--seeds: a picture shows one run of each method; give one seed")
    subject = load_methods(folders(flags, methods=METHODS))
    publish(report(subject), flags, subject, study="qualitative", arguments=arguments)


if __name__ == "__main__":
    command_line.run(main)

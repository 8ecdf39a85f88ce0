"""`python -m experiments.skips`: what each skip connection of the U-Net does (paper, section 4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import markdown
from experiments.finding import Finding, over_seeds, publish
from experiments.runs import run_folder
from experiments.study import Flags as StudyFlags
from experiments.study import Loaded, Subject, labelled_data, one_category, train_missing
from experiments.trajectories import METRICS, SCORES
from i3ad_jax import command_line
from i3ad_jax.errors import InputError
from i3ad_jax.nn.unet import LEVELS
from i3ad_jax.pictures import contact_sheet
from i3ad_jax.runs.files import read_array, read_json
from i3ad_jax.runs.run_folder import RunFolder

PROGRAM = "python -m experiments.skips"
NONE = "none"
SKIPS: dict[str, tuple[int, ...]] = {NONE: (), **{str(n): (n,) for n in range(1, LEVELS + 1)}}
ERRORS = ("normal_error", "defect_error")

# Which skip connections are on: name of a figure: its value for each seed.
Measured = Mapping[str, Mapping[str, list[float]]]


@dataclass(frozen=True)
class Flags(StudyFlags):
    """Reconstructions and AUROC of the U-Net with no skip connection, and with each one alone.

    The paper: with the first or the second, "anomalous pixels are reconstructed".
    """

    runs: tuple[Path, ...] = ()
    """Folders of trained runs of unet that differ by nothing but seed and skip connections, some
    without any. Without this flag, the runs in OUT/skips-..., which are trained where they are
    missing: minutes each."""


def folders(flags: Flags) -> list[RunFolder]:
    """Return the runs in the flags, or else one of each network and seed, trained where missing.

    Raises:
        InputError: a flag is invalid, or a run cannot be trained.
        SystemExit: on Ctrl-C or SIGTERM during training; the same command continues from there.
    """
    if flags.runs:
        return [RunFolder(path) for path in flags.runs]
    base = one_category(flags, methods=["unet"])
    found = []
    for name, skips in SKIPS.items():
        planned = {run: config.with_settings({"skips": skips}) for run, config in base.items()}
        out = flags.out / f"skips-{name}"
        train_missing(planned, out)
        found += [run_folder(out, run) for run in planned]
    return found


def load_networks(chosen: Sequence[RunFolder]) -> Subject:
    """The runs with their data.

    Raises:
        InputError: one is not finished or not of unet, they differ by more than seed and skip
            connections, none is without skip connections, or there is no test image with a mask.
    """
    runs = [Loaded.of(folder) for folder in chosen]
    first = runs[0].detector.config
    for run in runs:
        config, may_differ = (
            run.detector.config,
            {"seed": first.seed, "skips": first.flat().get("skips")},
        )
        if config.method != "unet" or config.with_settings(may_differ) != first:
            raise InputError(
                f"--runs {run.folder.path}: give runs of unet that differ by seed and skip"
                " connections alone"
            )
    if all(map(_skips, runs)):
        raise InputError(
            "--runs: none is without skip connections, which the others are measured against"
        )
    data = labelled_data(chosen[0])
    if not data.test.masks[:].any():
        raise InputError(
            f"--data {data.name}: no test image has a mask, by which defects are measured"
        )
    return Subject(runs, data)


def measure(subject: Subject) -> Measured:
    """Return image and pixel AUROC and mean squared errors of each run.

    The errors are those on pixels of normal images and on pixels of defects.
    """
    test, found = subject.data.test, {}
    for run in sorted(subject.runs, key=_skips):
        scores = read_json(run.folder.results)["scores"]
        error = read_array(run.folder.maps / "l2.npy")
        parts = error[test.labels == 0], error[test.masks[:]]
        figures = {
            **{
                f"{kind}_{name}": scores[kind][f"{name}_auroc"]
                for kind in SCORES
                for name in METRICS
            },
            **{name: float(part.mean()) for name, part in zip(ERRORS, parts, strict=True)},
        }
        for name, value in figures.items():
            found.setdefault(_name(run), {}).setdefault(name, []).append(value)
    return found


def conclude(measured: Measured) -> str:
    """Effect of each skip connection, in numbers."""
    means = {
        skips: {k: float(np.mean(v)) for k, v in figures.items()}
        for skips, figures in measured.items()
    }
    none = means[NONE]
    sentences = [
        f"Without skip connections a pixel of a defect has {_ratio(none):.1f} times the error of"
        f" one of a normal image; image AUROC is {none['l2_image']:.3f} (L2) and"
        f" {none['ssim_image']:.3f} (SSIM)."
    ]
    for skips, figures in means.items():
        if skips != NONE:
            share = figures["defect_error"] / none["defect_error"]
            l2, ssim = (figures[f"{kind}_image"] - none[f"{kind}_image"] for kind in SCORES)
            sentences.append(
                f"With skip {skips} the error of defects is {share:.2g} of that and"
                f" {_ratio(figures):.1f} times that of normal images; image AUROC changes by"
                f" {l2:+.3f} and {ssim:+.3f}."
            )
    return " ".join(sentences)


def reconstructions(subject: Subject) -> UInt8[np.ndarray, "h w 3"]:
    """Return a test image of each kind above its reconstructions by each network's first run.

    Networks stand in the order of `measure`.
    """
    test = subject.data.test
    images = test.images[[test.defects.index(kind) for kind in sorted(set(test.defects))]]
    firsts = {_name(run): run for run in reversed(subject.runs)}
    rows = [images]
    rows += [run.detector.reconstruct(images) for run in sorted(firsts.values(), key=_skips)]
    return np.asarray(contact_sheet(rows))


def draw(figure: Figure, measured: Measured, sheet: UInt8[np.ndarray, "h w 3"]) -> None:
    """Panels of AUROC and errors, a point for each seed, and the pictures."""
    left, middle, right = figure.subplots(1, 3, width_ratios=(2, 2, 3))

    def points(axes: Axes, figures: Mapping[str, str], title: str) -> None:
        for (name, label), shift, marker in zip(figures.items(), (-0.1, 0.1), "os", strict=True):
            places = [at + shift for at, of in enumerate(measured.values()) for _ in of[name]]
            values = [value for of in measured.values() for value in of[name]]
            axes.plot(places, values, marker, label=label, markersize=4)
        axes.set_xticks(range(len(measured)), list(measured))
        axes.set_xlabel("skip connections")
        axes.set_title(title, loc="left", fontsize=9)
        axes.legend()

    points(left, {"l2_image": "L2", "ssim_image": "SSIM"}, "image AUROC")
    points(
        middle,
        dict(zip(ERRORS, ("normal images", "defects"), strict=True)),
        "squared error of a pixel",
    )
    middle.set_yscale("log")
    right.imshow(sheet)
    rows = ["image", *measured]
    side = len(sheet) / len(rows)
    right.set_yticks([(at + 0.5) * side for at in range(len(rows))], rows)
    right.set_xticks([])
    right.grid(visible=False)
    right.set_title("reconstructions", loc="left", fontsize=9)


def report(measured: Measured, sheet: UInt8[np.ndarray, "h w 3"]) -> Finding:
    """The study's figure, numbers and conclusion."""
    keys = list(measured[NONE])
    cells = {
        skips: [over_seeds(figures[key]) for key in keys] for skips, figures in measured.items()
    }
    shown = [
        *(f"{kind} {name} AUROC" for kind in SCORES for name in METRICS),
        *(name.replace("_", " ") for name in ERRORS),
    ]
    return Finding(
        title="Skip connections of the U-Net",
        conclusion=conclude(measured),
        parts=[
            "Mean ± standard deviation over seeds. Errors are squared, of intensities in [-1, 1]:"
            " of the pixels of normal test images, and of those of defects.",
            markdown.table(["skips", *shown], [[skips, *line] for skips, line in cells.items()]),
        ],
        header=["skips", *(f"{key}_{part}" for key in keys for part in ("mean", "sd"))],
        lines=[
            [skips, *(x for cell in line for x in (cell.mean, cell.sd))]
            for skips, line in cells.items()
        ],
        draw=lambda figure: draw(figure, measured, sheet),
        size=(11, 3.4),
    )


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, trains what is missing, measures, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    subject = load_networks(folders(flags))
    finding = report(measure(subject), reconstructions(subject))
    publish(finding, flags, subject, study="skips", arguments=arguments)


def _skips(run: Loaded) -> tuple[int, ...]:
    return run.detector.config.flat()["skips"]


def _name(run: Loaded) -> str:
    return " ".join(map(str, _skips(run))) or NONE


def _ratio(figures: Mapping[str, Any]) -> float:
    return figures["defect_error"] / figures["normal_error"]


if __name__ == "__main__":
    command_line.run(main)

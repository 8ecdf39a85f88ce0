"""`python -m experiments.iterations`: gain by iterating the loop, under two rules for its mask."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from matplotlib.figure import Figure
from tqdm import tqdm

from experiments import markdown
from experiments.finding import Finding, difference, over_seeds, publish
from experiments.study import LoopFlags, Subject, folders, load_seeds, with_settings
from experiments.trajectories import SCORES, trajectories
from i3ad_jax import command_line
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.stored import some
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.refine import trace
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.method import State
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.preprocessing.scales import reduce_values
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import in_batches
from i3ad_jax.scoring.maps import image_scores, l2_map
from i3ad_jax.scoring.metrics import image_auroc
from i3ad_jax.shapes import Map, Maps

PROGRAM = "python -m experiments.iterations"
SHOWN = (0, 1, 2, 4, 8, 16, 30)  # iterations
RULES = ("ssim", "segmentation")  # for the mask
FIGURES = {"auroc": "Image AUROC", "ratio": "Signal-to-noise ratio"}
QUANTILE = 0.99  # of the pixels of normal images: the segmentation rule's threshold
HELD_OUT = 200  # normal images for that threshold, at most
PIXELS = 1 << 24  # of all states of the images that are in memory together

# Anomaly maps of each score for images and states of the loop, of the working size.
StateMaps = dict[str, Float[np.ndarray, "n t h w"]]
# By figure, score and rule.
Measured = Mapping[tuple[str, str, str], Float[np.ndarray, "seeds t"]]


@dataclass(frozen=True)
class Flags(LoopFlags):
    """Image AUROC and signal-to-noise ratio by iteration, with the paper's mask and a learned one.

    The learned rule masks the pixels that the segmentation network of a run takes for defects.
    """

    iterations: int | None = None
    """Mask updates per image; by default those of the runs."""


def measure(subject: Subject, *, iterations: int | None = None) -> Measured:
    """Return the figures of each run; `iterations` replaces the runs' own.

    Raises:
        InputError: a run has no segmentation network, or `iterations` cannot be used.
    """
    test, found = subject.data.test, []
    for run in tqdm(subject.runs, unit="run"):
        if not run.detector.preprocessing.levels:
            raise InputError(
                f"--runs {run.folder.path}: trained without a segmentation network; give a run"
                " with --segmenter-width above 0"
            )
        changes = {} if iterations is None else {"iterations": iterations}
        detector = with_settings(run.detector, **changes)
        held_out = some(detector.files.select_held_out(subject.data.train).images, HELD_OUT)
        threshold = float(np.quantile(probabilities(detector, held_out), QUANTILE))
        by_ssim = figures(detector, test, lambda x, of=detector: trajectories(of, x).maps)
        learned = figures(detector, test, partial(segmentation_states, detector, threshold))
        measured = {
            (*name, rule): values
            for rule, own in zip(RULES, (by_ssim, learned), strict=True)
            for name, values in own.items()
        }
        states = len(detector.method.trace_iterations)
        # After its last state an image stays as it is.
        found.append({k: np.pad(x, (0, states - len(x)), "edge") for k, x in measured.items()})
    return {name: np.stack([of_seed[name] for of_seed in found]) for name in found[0]}


def probabilities(
    detector: Detector, images: UInt8[np.ndarray, "n h w 3"]
) -> Float[np.ndarray, "n seen_h seen_w"]:
    """Return the segmentation network's maps, in [0, 1], of the size that squares are cut from."""
    method, preprocessing = detector.method, detector.preprocessing
    maps = preprocessing.apply_levels(
        lambda squares: method.segmented(detector.state, squares),
        images,
        pixels=method.throughput.queue_size * preprocessing.side**2,
    )
    return reduce_values(maps[..., None], preprocessing.seen)[..., 0]


def segmentation_states(
    detector: Detector, threshold: float, images: UInt8[np.ndarray, "n h w 3"]
) -> StateMaps:
    """Return the states of the loop whose mask is where the network's probability is high.

    The network sees the image and not its reconstruction: the mask is constant, and so are the
    pixels around it. An iteration after the first fills the same holes with the same pixels, so
    there are two states at most: after the checkerboard pass, and after the first iteration.
    """
    method, preprocessing = detector.method, detector.preprocessing
    assert isinstance(method, I3AD)
    once = replace(method.test.refine, iterations=min(method.test.refine.iterations, 1))
    method = replace(method, test=replace(method.test, refine=once))
    cut = preprocessing.tiling.cut(probabilities(detector, images)[..., None])
    maps = jnp.asarray(cut.reshape(-1, *cut.shape[2:4]))
    found = preprocessing.apply(
        lambda squares, _: _trace(method, detector.state, squares, maps, jnp.float32(threshold)),
        images,
        queue_size=len(maps),
    )
    return {score: np.moveaxis(x, 3, 1) for score, x in found.items()}


@jit(static_argnums=0)
def _trace(
    method: I3AD, state: State, squares: Squares, scores: Maps, threshold: Float[Array, ""]
) -> dict[str, Float[Array, "n s s t"]]:
    """Anomaly maps of every state of the loop that takes its masks from `scores`."""
    inpaint, settings = method.inpaint(state), method.test.refine

    def one(row: tuple[Squares, Map]) -> dict[str, Array]:
        square, score = row
        image = square.images
        found = trace(inpaint, image, score=lambda _: score, u=threshold, settings=settings)[0]
        l2 = partial(l2_map, square.pixels(image))
        maps = {
            "l2": jax.vmap(l2)(square.pixels(found.images)),
            "ssim": jax.vmap(method.anomaly_score(square))(found.images),
        }
        return {name: jnp.moveaxis(x, 0, 2) for name, x in maps.items()}

    rows, together = (squares, scores), method.throughput.test_batch_size
    return in_batches(jax.vmap(one), rows, count=jnp.int32(len(scores)), batch_size=together)


def figures(
    detector: Detector, test: Split, states: Callable[[np.ndarray], StateMaps]
) -> dict[tuple[str, str], Float[np.ndarray, " t"]]:
    """Return by figure and score what `states`, which gives maps of a few images, leads to.

    The ratio is that of `experiments.snr`: mean over defective by mean over defect-free pixels.
    """
    area, found = math.prod(detector.preprocessing.size), {}
    together = max(PIXELS // (area * len(detector.method.trace_iterations)), 1)
    sums: dict[str, list[np.ndarray]] = {score: [] for score in SCORES}  # `3 n t` of each part
    defective = 0
    for first in range(0, len(test), together):
        part = test.take(np.arange(first, min(first + together, len(test))))
        maps, truth, known = states(part.images[:]), part.masks[:], part.annotated[:, None, None]
        places = [(where & known)[:, None] for where in (truth, ~truth)]
        defective += int(places[0].sum())
        for score, own in sums.items():
            x, pooling = maps[score], detector.calibration.pooling[score]
            pooled = np.stack([image_scores(state, pooling) for state in np.moveaxis(x, 1, 0)], 1)
            own.append(np.stack([pooled, *(x.sum((2, 3), np.float64, where=y) for y in places)]))
    normal = int(test.annotated.sum()) * area - defective
    for score, own in sums.items():
        pooled, signal, noise = np.concatenate(own, axis=1)
        found["auroc", score] = np.array([image_auroc(test.labels, x) for x in pooled.T], float)
        signal = signal.sum(axis=0) / (defective or np.nan)
        found["ratio", score] = signal / (noise.sum(axis=0) / normal)
    return found


def conclude(measured: Measured) -> str:
    """Changes of each figure from the checkerboard pass to the last iteration."""
    parts = []
    for (figure, score, rule), values in measured.items():
        before, after = values[:, 0].tolist(), values[:, -1].tolist()
        change = f"{over_seeds(before)} to {over_seeds(after)} ({difference(after, before)})"
        parts.append(f"{FIGURES[figure]} of {score} with the {rule} mask: {change}.")
    return " ".join(parts)


def draw(figure: Figure, measured: Measured) -> None:
    """Draw a panel for each figure and score, with a line for each rule."""
    panels = figure.subplots(1, len(FIGURES) * len(SCORES))
    for axes, (name, score) in zip(panels, product(FIGURES, SCORES), strict=True):
        for rule in RULES:
            x = measured[name, score, rule]
            sd = x.std(axis=0, ddof=1) if len(x) > 1 else None
            axes.errorbar(range(x.shape[1]), x.mean(axis=0), sd, label=f"{rule} mask", capsize=2)
        axes.set_title(f"{FIGURES[name]}, {score}", loc="left", fontsize=9)
        axes.set_xlabel("iteration")
    panels[0].legend(fontsize=7)


def report(measured: Measured) -> Finding:
    """The study's figure, numbers and conclusion."""
    last = len(measured["auroc", "ssim", "ssim"][0]) - 1
    shown = [*(i for i in SHOWN if i < last), last]
    cells = {n: [over_seeds(x[:, i].tolist()) for i in shown] for n, x in measured.items()}
    tables = []
    for figure, title in FIGURES.items():
        columns = [*product(SCORES, RULES)]
        header = ["iteration", *(f"{score}, {rule} mask" for score, rule in columns)]
        rows = zip(shown, *(cells[figure, *names] for names in columns), strict=True)
        tables += [f"{title}:", markdown.table(header, rows)]
    return Finding(
        title="Iterations of the loop under two rules for its mask",
        conclusion=conclude(measured),
        parts=[
            "Mean ± standard deviation over seeds. `ssim` mask: where 1 - SSIM is at least u, as in"
            " the paper. `segmentation` mask: where the segmentation network gives a probability of"
            f" at least the {QUANTILE} quantile of the pixels of held-out normal images; it is the"
            " same in all iterations, so that those after the first change nothing. Ratio: mean"
            " score of defective pixels divided by that of defect-free ones.",
            *tables,
        ],
        header=["iteration", *("_".join((*n, x)) for n in cells for x in ("mean", "sd"))],
        lines=[
            [i, *(x for own in cells.values() for x in (own[row].mean, own[row].sd))]
            for row, i in enumerate(shown)
        ],
        draw=lambda figure: draw(figure, measured),
        size=(13, 3.2),
    )


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures, writes the files."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    subject = load_seeds(folders(flags), base=flags.base)
    finding = report(measure(subject, iterations=flags.iterations))
    publish(finding, flags, subject, study="iterations", arguments=arguments)


if __name__ == "__main__":
    command_line.run(main)

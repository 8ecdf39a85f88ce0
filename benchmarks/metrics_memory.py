"""`python -m benchmarks.metrics_memory`: cost of exact metrics of more maps than memory holds.

The cost is seconds and memory.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from benchmarks.metrics_trial import read_scores, stored_maps
from benchmarks.processes import clean_environment, cost_of
from benchmarks.stopwatch import machine
from benchmarks.tables import publish
from i3ad_jax import command_line
from i3ad_jax.data.stored import StoredArray
from i3ad_jax.runs.files import read_json
from i3ad_jax.scoring.metrics import image_auroc, pixel_auroc

PROGRAM = "python -m benchmarks.metrics_memory"
COLUMNS = (
    "measured",
    "pixel_auroc",
    "pixel_aupro",
    "image_auroc",
    "seconds",
    "peak_megabytes",
    "difference",
)
WRITTEN = 1000  # maps that are drawn together
# Difference of anomalous and normal scores, in widths of the scores' distribution.
SHIFT = 0.3


@dataclass(frozen=True)
class Flags:
    """Measure random maps and scores in files, each in its own process; write the table to OUT.

    Each map has one square of defective pixels. `difference` is to scikit-learn on the first 1,000
    maps, and to SciPy's rank-sum test on all image scores.
    """

    out: Path = Path("metrics_memory")
    """Folder for the table."""
    maps: int = 100_000
    """Number of maps."""
    side: int = 64
    """Side of a map, in pixels."""
    defective: float = 0.02
    """Fraction of a map's pixels that are defective."""
    scores: int = 1_000_000
    """Number of image scores, half of them of anomalous images."""


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, measures, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    with tempfile.TemporaryDirectory() as folder:
        rows = list(measure(flags, Path(folder)))
    publish(flags.out, "metrics_memory", COLUMNS, rows, notes=machine())


def measure(flags: Flags, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for the maps and one for the image scores, which are written to `folder`."""
    write_maps(flags, folder)
    masks, maps = (array[:WRITTEN] for array in stored_maps(folder))
    difference = abs((pixel_auroc(masks, maps) or 0.0) - roc_auc_score(masks.ravel(), maps.ravel()))
    name = f"{flags.maps} maps, side {flags.side}, {masks.mean():.1%} of pixels defective"
    yield {"measured": name, **trial("pixels", folder), "difference": difference}
    write_scores(flags, folder)
    labels, scores = read_scores(folder)
    wins = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    expected = wins / (labels.sum() * (1 - labels).sum())
    difference = abs((image_auroc(labels, scores) or 0.0) - expected)
    yield {
        "measured": f"{flags.scores} image scores",
        **trial("images", folder),
        "difference": difference,
    }


def trial(what: str, folder: Path) -> dict[str, Any]:
    """Return the metrics, their seconds without the start, and the whole process's peak memory."""
    cost = cost_of(
        [sys.executable, "-m", "benchmarks.metrics_trial", what, folder],
        environment={**clean_environment(folder), "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    return {**read_json(folder / "trial.json"), "peak_megabytes": cost.peak_bytes / 1e6}


def write_maps(flags: Flags, folder: Path) -> None:
    """Writes the masks and the maps, uniform numbers, without ever holding all of them."""
    rng, side = np.random.default_rng(0), flags.side
    width = max(1, round(side * flags.defective**0.5))
    shape = (flags.maps, side, side)
    all_masks = StoredArray.create(folder / "masks.npy", shape, bool)
    all_maps = StoredArray.create(folder / "maps.npy", shape, np.float32)
    for first in range(0, flags.maps, WRITTEN):
        masks = np.zeros((min(WRITTEN, flags.maps - first), side, side), bool)
        corners = rng.integers(0, side - width + 1, (len(masks), 2))
        for mask, (y, x) in zip(masks, corners, strict=True):
            mask[y : y + width, x : x + width] = True
        part = slice(first, first + len(masks))
        all_masks[part] = masks
        all_maps[part] = rng.random(masks.shape, np.float32) + np.float32(SHIFT) * masks


def write_scores(flags: Flags, folder: Path) -> None:
    """Writes labels and image scores, normal numbers."""
    rng = np.random.default_rng(1)
    labels = np.arange(flags.scores) % 2
    labels.tofile(folder / "labels")
    (rng.normal(size=flags.scores) + SHIFT * labels).tofile(folder / "scores")


if __name__ == "__main__":
    command_line.run(main)

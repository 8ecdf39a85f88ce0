"""One measurement of metrics, in a process that does nothing else.

The peak memory of the process is thus that of the metrics.
"""

import sys
import time
from pathlib import Path

import numpy as np

from i3ad_jax.data.stored import StoredArray
from i3ad_jax.runs.files import write_json
from i3ad_jax.scoring.metrics import image_auroc
from i3ad_jax.scoring.pixel_metrics import pixel_metrics


def main(arguments: list[str]) -> None:
    """Measures `pixels` or `images`, and writes `trial.json` to the folder.

    Args:
        arguments: name of the trial, and the folder with the data.
    """
    what, folder = arguments[0], Path(arguments[1])
    start = time.perf_counter()
    if what == "pixels":
        masks, maps = stored_maps(folder)
        (metrics,) = pixel_metrics(masks, maps, np.ones((1, len(masks)), bool))
        measured = {"pixel_auroc": metrics.auroc, "pixel_aupro": metrics.aupro}
    else:
        measured = {"image_auroc": image_auroc(*read_scores(folder))}
    write_json(folder / "trial.json", {**measured, "seconds": time.perf_counter() - start})


def stored_maps(folder: Path) -> tuple[StoredArray, StoredArray]:
    """The masks and the maps in a folder."""
    return StoredArray.open(folder / "masks.npy"), StoredArray.open(folder / "maps.npy")


def read_scores(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The labels and the image scores in a folder."""
    return np.fromfile(folder / "labels", np.int64), np.fromfile(folder / "scores", np.float64)


if __name__ == "__main__":
    main(sys.argv[1:])

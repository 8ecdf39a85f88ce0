"""One measurement of metrics, in a process that does nothing else, so that its peak memory is theirs."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from i3ad_jax.runs.files import write_json
from i3ad_jax.scoring.metrics import image_auroc
from i3ad_jax.scoring.pixel_metrics import pixel_metrics


class StoredRows:
    """Square arrays in a file, read where they are indexed: pages of a np.memmap would count as memory."""

    def __init__(self, file: Path, dtype: Any, side: int) -> None:
        self.dtype = np.dtype(dtype)
        self._file, self._row_bytes = file, side * side * self.dtype.itemsize
        self.shape = (file.stat().st_size // self._row_bytes, side, side)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        numbers = np.arange(len(self))[rows]
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        with self._file.open("rb") as file:
            for number, row in zip(numbers.tolist(), found, strict=True):
                file.seek(number * self._row_bytes)
                file.readinto(row.data.cast("B"))
        return found


def main(arguments: list[str]) -> None:
    """Measures `pixels` or `images`, and writes `trial.json` to the folder.

    Args:
        arguments: which, the folder with the data, and the side of the maps.
    """
    what, folder, side = arguments[0], Path(arguments[1]), int(arguments[2])
    start = time.perf_counter()
    if what == "pixels":
        masks, maps = stored_maps(folder, side)
        (metrics,) = pixel_metrics(masks, maps, np.ones((1, len(masks)), bool))
        measured = {"pixel_auroc": metrics.auroc, "pixel_aupro": metrics.aupro}
    else:
        measured = {"image_auroc": image_auroc(*read_scores(folder))}
    write_json(folder / "trial.json", {**measured, "seconds": time.perf_counter() - start})


def stored_maps(folder: Path, side: int) -> tuple[StoredRows, StoredRows]:
    """The masks and the maps in a folder."""
    return StoredRows(folder / "masks", bool, side), StoredRows(folder / "maps", np.float32, side)


def read_scores(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The labels and the image scores in a folder."""
    return np.fromfile(folder / "labels", np.int64), np.fromfile(folder / "scores", np.float64)


if __name__ == "__main__":
    main(sys.argv[1:])

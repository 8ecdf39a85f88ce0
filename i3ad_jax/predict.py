"""`python -m i3ad_jax.predict`: score images without labels by a trained run."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from i3ad_jax import command_line
from i3ad_jax.calibration import CALIBRATED, RunCalibration, anomaly_maps, scores_of
from i3ad_jax.config import DataConfig
from i3ad_jax.data.images import SUFFIXES, preprocess, read_image, restore_map
from i3ad_jax.errors import InputError
from i3ad_jax.fit import load_trained
from i3ad_jax.reporting.figures import overlay
from i3ad_jax.runs.run_folder import RunFolder, write_array, write_csv

PROGRAM = "python -m i3ad_jax.predict"
CHUNK = 64  # pictures in memory at a time
# The hottest colour, the same in all pictures: 1 - SSIM, or standard deviations.
HEAT_LIMITS = {"ssim": 1.0, **dict.fromkeys(CALIBRATED, 10.0)}


@dataclass(frozen=True)
class Flags:
    """Score images; write predictions.csv and, for each image, a heat map picture and an anomaly map to OUT.

    The column `anomalous` is 1 where the score is above the run's threshold, which comes from normal images
    alone. Pictures and maps have the size of the image.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a trained run."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, or folders of them."""
    out: Path
    """Folder for the results."""
    score: Literal["ssim", "l2_calibrated", "ssim_calibrated", "ms_ssim_calibrated"] = "ssim"
    """Which score the verdict, the map and the picture show; predictions.csv has them all."""


def predict(folder: RunFolder, files: Sequence[Path], *, out: Path, score: str = "ssim") -> None:
    """Scores the images in `files` and writes the results to `out`, `predictions.csv` last.

    The verdicts, maps and pictures are those of `score`, one of `HEAT_LIMITS`.

    Raises:
        InputError: the run or an image cannot be used, or `out` cannot be written to.
    """
    config = folder.read_config()
    calibration = RunCalibration.read(folder)
    method, state = load_trained(folder, config)
    threshold = calibration.values["thresholds"][score]
    names = _names(files)
    rows: list[tuple[object, ...]] = []
    try:
        for kind in ("maps", "pictures"):
            (out / kind).mkdir(parents=True, exist_ok=True)
        chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
        progress = tqdm(_read_ahead(chunks, config.data), "predict", len(chunks), unit="chunk", leave=False)
        for number, (chunk, pictures, pixels) in enumerate(progress):
            start = number * CHUNK
            maps = anomaly_maps(method, config, state, calibration, pixels)
            scores = scores_of(maps, config.score)
            for i, (file, picture) in enumerate(zip(chunk, pictures, strict=True)):
                original = np.asarray(picture)
                anomaly_map = restore_map(
                    maps[score][i], original_size=original.shape[:2], aspect=config.data.aspect
                )
                write_array(out / "maps" / f"{names[start + i]}.npy", anomaly_map)
                heat = overlay(original, anomaly_map, vmax=HEAT_LIMITS[score])
                Image.fromarray(heat).save(out / "pictures" / f"{names[start + i]}.png")
                values = [float(values[i]) for values in scores.values()]
                rows.append((str(file), *values, int(scores[score][i] > threshold)))
        write_csv(out / "predictions.csv", ("path", *calibration.values["thresholds"], "anomalous"), rows)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written to ({error.strerror})") from error


def _read_ahead(
    chunks: Sequence[Sequence[Path]], config: DataConfig
) -> Iterator[tuple[Sequence[Path], list[Image.Image], np.ndarray]]:
    """Each chunk of files with its pictures and pixels; the next is decoded while this one is worked on."""

    def read(chunk: Sequence[Path]) -> tuple[Sequence[Path], list[Image.Image], np.ndarray]:
        pictures = [read_image(file) for file in chunk]
        pixels = [preprocess(p, image_size=config.image_size, aspect=config.aspect) for p in pictures]
        return chunk, pictures, np.stack(pixels)

    with ThreadPoolExecutor(max_workers=1) as reader:
        waiting = None
        for chunk in chunks:
            ahead = reader.submit(read, chunk)
            if waiting:
                yield waiting.result()
            waiting = ahead
        if waiting:
            yield waiting.result()


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files in `paths`, and those with an image's suffix anywhere below the folders in it, sorted.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    files = []
    for path in paths:
        if path.is_dir():
            found = sorted(
                file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
            )
            if not found:
                raise InputError(f"{path}: no images in this folder; {', '.join(sorted(SUFFIXES))} are read")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return files


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each image's results: its stem, numbered where several images share one."""
    names: dict[str, None] = {}
    for file in files:
        name, count = file.stem, 2
        while name in names:
            name, count = f"{file.stem}-{count}", count + 1
        names[name] = None
    return list(names)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, predicts, prints where the results are."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    predict(RunFolder(flags.run), find_images(flags.images), out=flags.out, score=flags.score)
    print(flags.out / "predictions.csv")


if __name__ == "__main__":
    command_line.run(main)

"""`python -m i3ad_jax.export`: a trained run as one program that runs without this package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from jaxtyping import UInt8

from i3ad_jax import command_line
from i3ad_jax.detector import Detector
from i3ad_jax.export import folder, onnx, stablehlo
from i3ad_jax.export.parity import check_parity
from i3ad_jax.runs.files import read_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.accelerator import stay_on_cpu

PROGRAM = "python -m i3ad_jax.export"


@dataclass(frozen=True)
class Flags:
    """Write a run's preprocessing, networks, loop, calibration and verdicts as one program to OUT.

    The program takes uint8 RGB images of the run's working size and gives scores, verdicts and
    anomaly maps by the name of the score. It is written only if it gives the run's scores of
    held-out images, computed on the CPU: there both are in float32, and a GPU rounds more.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a trained run, or of the results of another test of it."""
    out: Path
    """Folder for the program, export.json, card.md and, for stablehlo, load_exported.py; empty or
    new."""
    format: Literal["stablehlo", "onnx"] = "stablehlo"
    """stablehlo: one file for CPUs and NVIDIA GPUs, for any number of images at a time; later
    versions of JAX read it for six months. onnx: one image at a time, always through all iterations
    of a loop; requires pip install 'i3ad_jax[onnx]'."""
    images: tuple[Path, ...] = ()
    """Images, or folders of them, of which the program has to give the run's scores; by default the
    calibration set of the run."""


def export(
    run: RunFolder,
    *,
    out: Path,
    form: Literal["stablehlo", "onnx"] = "stablehlo",
    images: Sequence[Path] = (),
) -> None:
    """Exports a run; arguments as in `Flags`.

    Raises:
        InputError: the run or its held-out images cannot be used, the program's scores are not the
            run's, or `out` holds something.
    """
    if form == "onnx":
        onnx.check_packages()
    folder.check_free(out)
    detector = Detector.load(run.path)
    compared = _compared(detector, images)
    if form == "onnx":
        program, allowed = onnx.Onnx(detector), onnx.ALLOWED
    else:
        program, allowed = stablehlo.StableHlo(detector), stablehlo.ALLOWED
    parity = check_parity(detector, program, compared, allowed=allowed)
    results = read_json(run.results) if run.results.exists() else None
    folder.write(out, program, detector, parity, form=form, results=results)


def _compared(detector: Detector, images: Sequence[Path]) -> UInt8[np.ndarray, "n h w 3"]:
    config, size = detector.config, detector.preprocessing.size
    if images:
        return config.data.split_of(list(images), size=size).images[:]
    return detector.files.read_calibration_set(config.data, size=size).images[:]


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, exports, prints what was written and until when it can be read."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    stay_on_cpu()
    export(RunFolder(flags.run), out=flags.out, form=flags.format, images=flags.images)
    about = read_json(flags.out / "export.json")
    program, largest = about["program"], about["parity"]["largest"]
    print(flags.out / program["file"])
    print(
        f"scores of {about['parity']['images']} images differ from the run's by at most"
        f" {largest['plain']:.1g}, calibrated ones by {largest['calibrated']:.1g} standard"
        " deviations; verdicts are the same"
    )
    if "readable_until" in program:
        print(f"JAX reads it until {program['readable_until']}; export again before then")


if __name__ == "__main__":
    command_line.run(main)

"""The folder of an exported program: the program, what it is, and for StableHLO what reads it."""

import hashlib
import shutil
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import jinja2
import numpy as np
from jaxtyping import UInt8

from i3ad_jax import __version__
from i3ad_jax.calibration.thresholds import DEFECT_QUANTILE
from i3ad_jax.data import decoder
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.export import load_exported
from i3ad_jax.export.parity import Parity
from i3ad_jax.runs.files import file_hash, write_json, write_text
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.disk import make_folder, remove_unfinished, whole

VERSION = 2  # of export.json
SUMS = "SHA256SUMS"  # of all other files, as sha256sum writes and checks it
RESIZE = (
    "Pillow: turned upright by EXIF, RGB (16 bits: from the range of bit_depth, rounded), then"
    " resize(BILINEAR), which averages where it makes smaller; aspect stretch: the whole picture;"
    " pad: in its proportions, the border repeated; crop: the largest central part of the working"
    " size's proportions"
)


class ExportedProgram(Protocol):
    """A detector's program in the form of a file.

    Attributes:
        content: of the file.
        about: properties that a reader needs; `file` is its name.
    """

    content: bytes

    @property
    def about(self) -> dict[str, Any]:
        """Facts about the program for a reader."""
        ...

    def __call__(self, images: UInt8[np.ndarray, "n h w 3"]) -> dict[str, Any]:
        """Scores, verdicts and maps, as `program.Scored` has them."""
        ...


def check_free(folder: Path) -> None:
    """Raises InputError unless the folder is empty or does not exist."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--out {folder}: holds something; name an empty or a new folder")


def write(
    folder: Path,
    program: ExportedProgram,
    detector: Detector,
    parity: Parity,
    *,
    form: str,
    results: dict[str, Any] | None,
) -> None:
    """Writes the folder, whole or not at all.

    Args:
        folder: empty or new.
        program: to be written.
        detector: exported detector.
        parity: differences of its scores from the detector's.
        form: stablehlo or onnx.
        results: content of the run's `results.json`, if there is one.

    Raises:
        InputError: the folder holds something or cannot be written to.
    """
    check_free(folder)
    about = describe(program, detector, parity, form=form)
    with RunFolder(folder).writing():
        make_folder(folder.parent)
        beside = folder.parent.iterdir()
        remove_unfinished(path for path in beside if path.name.endswith(f".{folder.name}"))
        with whole(folder) as new:
            new.mkdir()
            (new / about["program"]["file"]).write_bytes(program.content)
            if form == "stablehlo":
                shutil.copyfile(load_exported.__file__, new / "load_exported.py")
                shutil.copyfile(decoder.__file__, new / "i3ad_decoder.py")
            write_text(new / "card.md", _card(about, results))
            write_json(new / "export.json", about)
            sums = [f"{file_hash(file)}  {file.name}\n" for file in sorted(new.iterdir())]
            write_text(new / SUMS, "".join(sums))


def describe(
    program: ExportedProgram, detector: Detector, parity: Parity, *, form: str
) -> dict[str, Any]:
    """Return the content of `export.json`."""
    config, calibration, preprocessing = (
        detector.config,
        detector.calibration,
        detector.preprocessing,
    )
    rule = detector.rule
    return {
        "export_version": VERSION,
        "format": form,
        "exported": date.today().isoformat(),
        "package_version": __version__,
        "program": {**program.about, "sha256": hashlib.sha256(program.content).hexdigest()},
        "method": config.method,
        "data": config.data.data,
        "num_trained": len(detector.files.trained),
        "num_held_out": len(detector.files.calibration_set),
        "seed": config.seed,
        "steps": calibration.step,
        "weights_sha256": calibration.weights,
        "working_size": list(preprocessing.size),
        "aspect": config.data.aspect,
        "bit_depth": config.data.reading.bit_depth,
        "resize": RESIZE,
        "preprocessing": preprocessing.to_json(),
        "tiles": len(preprocessing.tiling.corners),
        "settings": {"training": config.training.to_json(), "test": config.test.to_json()},
        "tuned": dict(calibration.tuned),
        "scores": list(calibration.thresholds),
        "headline": calibration.headline,
        "rule": {
            "score": rule.score,
            "threshold": rule.threshold,
            "source": rule.source,
            "pixel_threshold": rule.pixel_threshold,
        },
        "pooling": dict(calibration.pooling),
        "fusion": calibration.fusion and calibration.fusion.to_json(),
        "thresholds": dict(calibration.thresholds),
        "parity": parity.to_json(),
    }


def _card(about: dict[str, Any], results: dict[str, Any] | None) -> str:
    """The model card, Markdown: `card.md.jinja` beside this module."""
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    ).get_template("card.md.jinja")
    return template.render(**about, results=results, quantile=DEFECT_QUANTILE)

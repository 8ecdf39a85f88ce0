"""Scores pictures by the exported program beside this file: python load_exported.py PICTURE ...

It needs jax (with its numpy and scipy), flatbuffers and Pillow, and nothing else; for TIFF files
whose 16-bit channels are stored plane by plane also tifffile. i3ad_decoder.py reads the files.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax import export
from PIL import Image
from scipy import ndimage

own_choice, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # SHA256SUMS lists all files
try:
    import i3ad_decoder as decoder  # pyright: ignore[reportMissingImports] (beside this file)
except ImportError:
    from i3ad_jax.data import decoder
finally:
    sys.dont_write_bytecode = own_choice

RESERVING = (
    "XLA_PYTHON_CLIENT_PREALLOCATE",
    "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)
"""JAX's variables that say how much memory of a GPU a process reserves."""


class DeviceError(Exception):
    """JAX computes on no device here that the program was exported for."""


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the program and the content of export.json.

    The program takes uint8 images [n, h, w, 3] and gives scores, verdicts and maps.

    It computes where JAX does by default: on a GPU if JAX has one.

    Raises ValueError where a file of the folder is not the one that was exported, and DeviceError.
    """
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted({"card.md", "export.json", "i3ad_decoder.py", "load_exported.py", *sums}):
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not the file that SHA256SUMS describes")
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    program = about["program"]
    content = (folder / program["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != program["sha256"]:
        raise ValueError(f"{program['file']} is not the file that export.json describes")
    same = jax.__version__ == program["jax_version"]  # others may not know the options
    exported = export.deserialize(bytearray(content))
    check_device(exported.platforms)
    options = program["compiler_options"].get(jax.default_backend()) if same else None
    return jax.jit(exported.call, compiler_options=options), about


def check_device(platforms: Sequence[str]) -> None:
    """Raise DeviceError unless JAX computes on one of the platforms here, by JAX's names."""
    chooses = f"JAX_PLATFORMS={platforms[0]} in the environment chooses another device"
    try:
        here = export.default_export_platform()
    except RuntimeError as error:
        raise DeviceError(f"JAX has no device to compute on ({error}); {chooses}") from error
    if here not in platforms:
        raise DeviceError(
            f"JAX computes on {here}, and the program was exported for {' and '.join(platforms)};"
            f" {chooses}"
        )


def read(file: Path, *, size: tuple[int, int], aspect: str, bit_depth: int = 16) -> np.ndarray:
    """Return a picture, uint8 [h, w, 3], brought to the working size as in training."""
    return fit(upright(file, bit_depth=bit_depth), size=size, aspect=aspect)


def upright(file: Path, *, bit_depth: int = 16) -> Image.Image:
    """Return a picture in its own size, RGB, turned as its EXIF data say.

    Raises ValueError where it cannot be read; the message names it.
    """
    try:
        return decoder.decode(file.read_bytes()).rgb(bit_depth=bit_depth)
    except (OSError, decoder.UndecodableError) as error:
        raise ValueError(f"{file}: {_reason(error)}") from error


def fit(picture: Image.Image, *, size: tuple[int, int], aspect: str) -> np.ndarray:
    """Return a picture brought to the working size, uint8 [h, w, 3]."""
    box, (height, width), margins = place((picture.height, picture.width), size=size, aspect=aspect)
    resized = picture.crop(box).resize((width, height), Image.Resampling.BILINEAR)
    return np.pad(np.asarray(resized), (*margins, (0, 0)), mode="edge")


def place(original: tuple[int, int], *, size: tuple[int, int], aspect: str) -> tuple[Any, Any, Any]:
    """Return the part of a picture that is used, its working size, and the margins around it."""
    fitted, own = np.array(size), np.array(original)
    box = own
    if aspect == "crop":
        box = np.maximum(np.round(fitted * np.min(own / fitted)), 1).astype(int)
    if aspect == "pad":
        fitted = np.maximum(np.round(own * np.min(fitted / own)), 1).astype(int)
    top, left = ((own - box) // 2).tolist()
    margins = [(free // 2, free - free // 2) for free in np.array(size) - fitted]
    bottom, right = top + int(box[0]), left + int(box[1])
    return (left, top, right, bottom), fitted.tolist(), margins


def regions(
    anomaly_map: np.ndarray, threshold: float, *, original: tuple[int, int], aspect: str
) -> list[dict[str, float]]:
    """Return the regions of a map that are above the pixel threshold, the highest peak first.

    Each has left, top, width, height, area, peak and its centroid x, y, in pixels of the picture.
    """
    (left, top, right, bottom), (height, width), ((rows, _), (columns, _)) = place(
        original, size=anomaly_map.shape, aspect=aspect
    )
    inside = Image.fromarray(anomaly_map[rows : rows + height, columns : columns + width])
    part = np.asarray(inside.resize((right - left, bottom - top), Image.Resampling.BILINEAR))
    beyond = ((top, original[0] - bottom), (left, original[1] - right))
    values = np.pad(part, beyond, mode="edge")
    labelled: Any = ndimage.label(values > threshold, np.ones((3, 3)))
    labels = labelled[0]
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = np.nonzero(labels[box] == number)
        top, left = box[0].start, box[1].start
        found.append(
            {
                "left": left,
                "top": top,
                "width": box[1].stop - left,
                "height": box[0].stop - top,
                "area": len(rows),
                "peak": float(values[box][rows, columns].max()),
                "x": left + float(columns.mean()),
                "y": top + float(rows.mean()),
            }
        )
    return sorted(found, key=lambda region: -region["peak"])


def judge(program: Any, about: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return a picture's deciding score, the verdict by it, the regions, and every score.

    Raises ValueError where the picture cannot be read.
    """
    picture, rule = upright(file, bit_depth=about["bit_depth"]), about["rule"]
    found = program(fit(picture, size=about["working_size"], aspect=about["aspect"])[None])
    scores = {name: value.item() for name, value in found["scores"].items()}
    score, limit = scores[rule["score"]], rule["pixel_threshold"]
    anomaly_map = np.asarray(found["maps"][rule["score"]])[0]
    original = picture.height, picture.width
    return {
        "path": str(file),
        "score": score,
        "is_anomalous": score > rule["threshold"],
        "regions": None
        if limit is None
        else regions(anomaly_map, limit, original=original, aspect=about["aspect"]),
        "scores": scores,
        "anomalous": {name: value.item() for name, value in found["anomalous"].items()},
    }


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Parser(argparse.ArgumentParser):
    """Parser whose errors are one line too."""

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        _fail(f"{message}; --help explains")


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Print a line of JSON for each picture; wrong input ends with one line and exit code 2."""
    parser = _Parser(
        description="Print the score, verdict and regions of each picture, a line of JSON each.",
        epilog="The first picture that cannot be used ends the program with exit code 2.",
    )
    parser.add_argument("pictures", nargs="+", type=Path, metavar="PICTURE", help="an image file")
    pictures = parser.parse_args().pictures
    for picture in pictures:
        if picture.is_dir():
            _fail(f"{picture}: a folder; name the pictures in it, such as {picture / '*.png'}")
        if not picture.exists():
            _fail(f"{picture}: not found; name a picture")
    if not any(os.environ.get(name) for name in RESERVING):  # JAX takes most of a GPU's memory
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    program, about = _load_or_fail(Path(__file__).parent)
    for picture in pictures:
        try:
            judged = judge(program, about, picture)
        except ValueError as error:
            _fail(str(error))
        _print(json.dumps({**judged, "device": jax.devices()[0].device_kind}))


def _load_or_fail(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return what `load` does, or end the process with one line."""
    try:
        return load(folder)
    except DeviceError as error:
        _fail(f"{folder}: {error}")
    except ImportError as error:
        _fail(f"{error}; pip install jax scipy Pillow flatbuffers")
    except OSError as error:
        _fail(f"{error.filename}: {_reason(error)}; copy the whole export, or export it again")
    except Exception as error:  # JAX raises any type on what it cannot read
        _fail(f"{folder}: {_reason(error)}; copy the whole export, or export it again")


def _print(line: str) -> None:
    """Print a line at once, and end silently where its reader is gone, as after `| head -1`."""
    try:
        print(line, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again
        if isinstance(error, BrokenPipeError):
            sys.exit(141)  # as a program that SIGPIPE ends
        _fail(f"standard output: cannot be written to ({_reason(error)})")


if __name__ == "__main__":
    main()

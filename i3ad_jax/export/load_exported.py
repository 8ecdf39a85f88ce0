"""Scores pictures by the exported program beside this file: python load_exported.py PICTURE ...

It needs jax, flatbuffers, numpy and Pillow, and nothing else.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from PIL import Image, ImageOps


def load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The program, from uint8 images [n, h, w, 3] to scores, verdicts and maps, and what export.json says.

    Raises ValueError where a file of the folder is not the one that was exported.
    """
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted({"card.md", "export.json", "load_exported.py", *sums}):
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != sums.get(name):
            raise ValueError(f"{name} is not the file that SHA256SUMS describes")
    about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    program = about["program"]
    content = (folder / program["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != program["sha256"]:
        raise ValueError(f"{program['file']} is not the file that export.json describes")
    same = jax.__version__ == program["jax_version"]  # others may not know the options
    options = program["compiler_options"].get(jax.default_backend()) if same else None
    return jax.jit(export.deserialize(bytearray(content)).call, compiler_options=options), about


def read(file: Path, *, size: tuple[int, int], aspect: str) -> np.ndarray:
    """A picture, uint8 [h, w, 3], brought to the working size as it was in training."""
    picture = ImageOps.exif_transpose(Image.open(file))
    if picture.mode == "F":
        raise ValueError(f"{file}: floating-point pixels have no known range")
    if picture.mode.startswith("I"):  # 16-bit grey
        picture = Image.fromarray(((np.asarray(picture).astype(np.int32) + 128) // 257).astype(np.uint8))
    picture = picture.convert("RGBA" if picture.mode == "P" else "RGB").convert("RGB")
    fitted, own = np.array(size), np.array([picture.height, picture.width])
    if aspect == "crop":
        box = np.maximum(np.round(fitted * np.min(own / fitted)), 1).astype(int)
        top, left = (own - box) // 2
        picture = picture.crop((left, top, left + box[1], top + box[0]))
    if aspect == "pad":
        fitted = np.maximum(np.round(own * np.min(fitted / own)), 1).astype(int)
    resized = picture.resize((fitted[1], fitted[0]), Image.Resampling.BILINEAR)
    margins = [(free // 2, free - free // 2) for free in np.array(size) - fitted]
    return np.pad(np.asarray(resized), (*margins, (0, 0)), mode="edge")


if __name__ == "__main__":
    program, about = load(Path(__file__).parent)
    for name in sys.argv[1:]:
        found = program(read(Path(name), size=about["working_size"], aspect=about["aspect"])[None])
        scores, anomalous = (
            {key: x.item() for key, x in found[part].items()} for part in ("scores", "anomalous")
        )
        print(json.dumps({"path": name, "scores": scores, "anomalous": anomalous}))

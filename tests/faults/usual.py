"""The usual forms of input: pictures as 8-bit PNG, and the data set as it is written.

Other forms of the same pixels are compared with them.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from .case import Material
from .commands import PACK, PREDICT, on
from .meaning import meaning

PICTURES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "colour": lambda colours: colours,
    "grey": lambda colours: colours[..., 1],
    "few-colours": lambda colours: colours // 128 * 255,  # 8 of them
    "16-greys": lambda colours: colours[..., 1] // 16 * 17,
    "4-greys": lambda colours: colours[..., 1] // 64 * 85,
    "black-white": lambda colours: colours[..., 1] // 128 * 255,
    # Squares of one grey, which JPEG keeps to the last bit.
    "squares": lambda colours: np.kron(colours[::8, ::8, 1], np.ones((8, 8), np.uint8)),
}
SOURCE = "data/test/spot/0.png"
FOLDER = "folder"
PACKED = "packed"


def pixels(material: Material, name: str) -> np.ndarray:
    """Return one of the pictures, uint8 `height width` or `height width 3`."""
    return PICTURES[name](np.asarray(Image.open(material.data.parent / SOURCE)))


def with_usual(material: Material) -> Material:
    """Return the material with the results of the usual forms.

    They are made by another process: this one must not use JAX, since it will be forked.
    """
    folder, root = material.data.parent, Path(__file__).parents[2]
    for name in PICTURES:
        Image.fromarray(pixels(material, name)).save(folder / f"{name}.png")
    subprocess.run(
        [sys.executable, "-m", __name__, folder], cwd=root, check=True, capture_output=True
    )
    found = {name: meaning(folder / f"out-{name}") for name in (*PICTURES, FOLDER, PACKED)}
    return material._replace(
        usual={**material.usual, **{name: each for name, each in found.items() if each}}
    )


def _main() -> None:
    from i3ad_jax.pack import __main__ as pack
    from i3ad_jax.predict import __main__ as predict

    os.chdir(sys.argv[1])
    for name in PICTURES:
        with suppress(SystemExit):  # 4 where the picture is unlike those of the training
            predict.main(_arguments(PREDICT, **{SOURCE: f"{name}.png", "out": f"out-{name}"}))
    predict.main(_arguments(PREDICT, **{SOURCE: "data/test/spot", "out": f"out-{FOLDER}"}))
    pack.main(_arguments(PACK, out=f"out-{PACKED}"))


def _arguments(command: tuple[str, ...], **places: str) -> tuple[str, ...]:
    return on(command, **places)[1:]


if __name__ == "__main__":
    _main()

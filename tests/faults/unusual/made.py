"""Cases of one input in another form, which is scored or packed."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.faults.case import Case, Expected, Material
from tests.faults.commands import PACK, PREDICT, on
from tests.faults.files import copy_data
from tests.faults.usual import PACKED, SOURCE, pixels

Content = Callable[[np.ndarray], bytes]
Change = Callable[[Path], object]
PACK_BY_PCA = (*PACK, "--method", "pca")  # by the usual method it takes ten times as long
IMAGES = tuple(
    f"{split}/{number}.png"
    for split, count in (("train/good", 8), ("test/good", 3), ("test/spot", 3))
    for number in range(count)
)


def scored(
    name: str,
    picture: str,
    file: str,
    content: Content,
    *,
    options: Sequence[str] = (),
    expected: Expected = "equal",
    cause: str = "",
) -> Case:
    """Return the case of a picture that is scored from a file of other content.

    Args:
        name: of the case, without its group.
        picture: one of `usual.PICTURES`.
        file: name of the file.
        content: makes its content of the picture's pixels.
        options: of the command, beside the usual ones.
        expected: required end.
        cause: words that a refusal has to hold.
    """

    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        (folder / "run").symlink_to(material.run)
        (folder / file).write_bytes(content(pixels(material, picture)))

    # A picture that cannot be used is a row of a table, unless it is asked for as an error.
    command = (*on(PREDICT, **{SOURCE: file}), "--strict", *options)
    return Case(f"unusual/{name}", command, expected, file, prepare, cause, picture)


def packed(
    name: str,
    change: Change,
    *,
    data: str = "data",
    options: Sequence[str] = (),
    expected: Expected = "equal",
    named: str = "",
    cause: str = "",
) -> Case:
    """Return the case of the data set that is packed after a change that keeps its meaning.

    Args:
        name: of the case, without its group.
        change: is given the data set's folder.
        data: data set to pack.
        options: of the command, beside the usual ones.
        expected: required end.
        named: of what a refusal has to name, a word is enough.
        cause: words that a refusal has to hold.
    """

    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        copy_data(folder, material)
        change(folder / "data")

    command = (*on(PACK_BY_PCA, data=data), *options)
    return Case(f"unusual/{name}", command, expected, named, prepare, cause, PACKED)


def rewritten(file: str, suffix: str, content: Content) -> Change:
    """Return the change of a file of the data set to one of another suffix and content."""

    def change(data: Path) -> None:
        values = np.asarray(Image.open(data / file))
        (data / file).unlink()
        (data / file).with_suffix(suffix).write_bytes(content(values))

    return change


def pillow(form: str, mode: str | None = None, **options: Any) -> Content:
    """Return what writes pixels by Pillow, in a mode of it."""

    def content(values: np.ndarray) -> bytes:
        image, file = Image.fromarray(values), io.BytesIO()
        (image if mode is None else image.convert(mode)).save(file, form, **options)
        return file.getvalue()

    return content


def of_16_bits(values: np.ndarray) -> np.ndarray:
    """Return numbers of 16 bits, not only multiples of 257, that are these when rounded to 8."""
    spread = np.random.default_rng(0).integers(-128, 129, values.shape)
    return np.clip(values.astype(int) * 257 + spread, 0, 65535).astype(np.uint16)


def with_alpha(values: np.ndarray) -> np.ndarray:
    """Return the channels of pixels, and one more that has all numbers but 0."""
    channels = values if values.ndim == 3 else values[..., None]
    full = np.iinfo(values.dtype).max
    ramp = np.linspace(1, full, channels.shape[0] * channels.shape[1])
    alpha = ramp.reshape(*channels.shape[:2], 1).astype(values.dtype)
    return np.concatenate([channels, alpha], -1)

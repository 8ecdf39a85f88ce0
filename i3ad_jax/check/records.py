"""Record of each image of a data set after decoding: a thumbnail, a hash and a few figures.

Images are read one by one, so that memory grows by about 12 KB for each, whatever its size.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from i3ad_jax.data.dataset import NORMAL, content_hash
from i3ad_jax.data.decoder import FULL_DEPTH
from i3ad_jax.data.folder import LeftOut, find_left_out, list_samples
from i3ad_jax.data.images import Size, decode_file, preprocess, read_bytes, rgb_of
from i3ad_jax.data.layouts.layout import Mismatch
from i3ad_jax.data.masks import marked
from i3ad_jax.data.reading import DEFAULT_READING, ReadingSettings
from i3ad_jax.data.samples import Sample
from i3ad_jax.errors import InputError
from i3ad_jax.runtime.progress import with_progress

# Side of thumbnails, pixels: the image size of the standard preset, to predict its choices.
SIDE = 64

Part = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Record of a decoded image.

    Attributes:
        size: height and width, upright, in pixels.
        mode: of the file, as Pillow calls it: "L", "RGB", "I;16" and so on.
        colour: whether red, green and blue differ anywhere.
        intensity: mean over pixels and channels, in [0, 1].
        content: SHA-256 of size and RGB pixels, 64 hex digits: the same for copies in other
            lossless formats.
        peak: largest number of a 16-bit image whose bit depth is not given; None for another.
        thumbnail: the whole image, stretched.
    """

    size: Size
    mode: str
    colour: bool
    intensity: float
    content: str
    peak: int | None
    thumbnail: UInt8[np.ndarray, "64 64 3"]


@dataclass(frozen=True)
class Mask:
    """Record of a mask.

    Attributes:
        path: relative to the data set's root.
        size: height and width, upright, in pixels; None if it cannot be read.
        marked: the fraction of its pixels that are defective, in [0, 1].
        border: the same of the pixels at its border.
        lossy: whether its file's compression changes numbers.
        problem: reason why it cannot be read.
    """

    path: str
    size: Size | None
    marked: float
    border: float
    lossy: bool
    problem: str | None


@dataclass(frozen=True, eq=False)
class Record:
    """An image of a data set.

    Attributes:
        path: relative to the data set's root.
        part: split of the image.
        defect: its class, "good" for a normal image.
        pixels: None if it cannot be read.
        problem: reason why it cannot be read.
        masks: in the order of the layout.
    """

    path: str
    part: Part
    defect: str
    pixels: Pixels | None
    problem: str | None
    masks: tuple[Mask, ...]

    @property
    def normal(self) -> bool:
        """True for an image of the normal class."""
        return self.defect == NORMAL


@dataclass(frozen=True, eq=False)
class Records:
    """A data set as it was found.

    Attributes:
        images: those to train on, then those to test on, each in the order of their paths.
        mismatches: files that belong to no image, to several, or to no class; paths relative to the
            root.
        left_out: other files below the root.
    """

    images: tuple[Record, ...]
    mismatches: tuple[Mismatch, ...]
    left_out: LeftOut

    def readable(self, part: Part | None = None) -> list[tuple[Record, Pixels]]:
        """The images that could be decoded, of one split or of both."""
        return [
            (record, record.pixels)
            for record in self.images
            if record.pixels is not None and part in (None, record.part)
        ]


def read_records(
    root: Path, *, reading: ReadingSettings = DEFAULT_READING, progress: bool = False
) -> Records:
    """Reads every image and mask of a data set on disk; what cannot be read is recorded.

    Args:
        root: a folder or file that exists.
        reading: options to read its files.
        progress: show a progress bar.

    Raises:
        InputError: the layout is not found, there are no images, or a folder cannot be read.
    """
    mismatches: list[Mismatch] = []
    listing = list_samples(root, reading, report=mismatches.append)
    left_out = find_left_out(root, listing)
    parts: list[tuple[Part, Sample]] = [
        *(("train", sample) for sample in listing.train),
        *(("test", sample) for sample in listing.test),
    ]
    folder = root if root.is_dir() else root.parent
    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes
        done = pool.map(lambda item: _read(folder, *item), parts)
        images = tuple(
            with_progress(
                done,
                "reading images",
                total=len(parts),
                unit="image",
                leave=False,
                disable=not progress,
            )
        )
    relative = tuple(m._replace(file=Path(_relative(folder, m.file))) for m in mismatches)
    return Records(images, relative, left_out)


def _read(root: Path, part: Part, sample: Sample) -> Record:
    try:
        pixels, problem = _read_pixels(sample), None
    except InputError as error:
        pixels, problem = None, str(error)
    masks = tuple(_read_mask(root, sample, mask) for mask in sample.masks)
    return Record(sample.path, part, sample.defect, pixels, problem, masks)


def _read_pixels(sample: Sample) -> Pixels:
    content = read_bytes(sample.image, name=sample.path)
    decoded = decode_file(content, name=sample.path)
    image = rgb_of(decoded, name=sample.path, bit_depth=sample.bit_depth)
    values = np.asarray(image)
    with Image.open(io.BytesIO(content)) as opened:
        mode = opened.mode
    return Pixels(
        size=(image.height, image.width),
        mode=mode,
        colour=bool((values[..., :1] != values).any()),
        intensity=float(values.mean(dtype=np.float64) / 255),
        content=content_hash(str(image.size).encode() + values.tobytes()),
        peak=decoded.peak if sample.bit_depth == FULL_DEPTH else None,
        thumbnail=preprocess(image, size=(SIDE, SIDE), aspect="stretch"),
    )


def _read_mask(root: Path, sample: Sample, source: Path | bytes) -> Mask:
    path = _relative(root, source) if isinstance(source, Path) else f"mask of {sample.path}"
    try:
        decoded = decode_file(source, name=path)
        mask = marked(decoded, name=path, values=sample.mask_values)
    except InputError as error:
        return Mask(path, None, 0.0, 0.0, False, str(error))
    inside = mask[1:-1, 1:-1]
    outside = mask.size - inside.size
    border = (int(mask.sum()) - int(inside.sum())) / max(outside, 1)
    return Mask(path, mask.shape, float(mask.mean()), border, decoded.lossy, None)


def _relative(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)

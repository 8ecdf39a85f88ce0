"""Test images in their own size, read again from the files of the data set."""

import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from i3ad_jax.data.dataset import Split
from i3ad_jax.data.folder import list_samples
from i3ad_jax.data.images import Size, preprocess_mask, working_frame
from i3ad_jax.data.load import DataSettings
from i3ad_jax.data.packed import is_packed
from i3ad_jax.data.samples import Sample, read_sample
from i3ad_jax.errors import DoubtfulImageWarning, InputError

SIDE = 1024  # pixels, at most, of the longer side of an original: larger ones are reduced


class LargePicture(NamedTuple):
    """A test image as large as it is known.

    Attributes:
        image: uint8 RGB: the original, at most `SIDE` large, or else the working size.
        truth: True on defective pixels of `image`; None if there is no mask.
        frame: left, top, width and height of the working size, in pixels of `image`.
        original_size: height and width of the original.
        is_original: False if only the working size is known, and the original is larger or smaller.
    """

    image: UInt8[np.ndarray, "h w 3"]
    truth: Bool[np.ndarray, "h w"] | None
    frame: tuple[float, float, float, float]
    original_size: Size
    is_original: bool


class LargePictures:
    """Reader of a test split's originals, from the files of which it was made."""

    def __init__(self, data: DataSettings, test: Split) -> None:
        """Data without image files, such as textures and packed data, have the working size alone.

        Args:
            data: source of the images, and the options to read them.
            test: the images in the working size.
        """
        self._data, self._test = data, test

    def read(self, index: int) -> LargePicture:
        """Return the original of a test image.

        If its file is gone, or is not the one that was tested, the result has the working size.
        """
        return self._original(index) or self._of_working_size(index)

    def _original(self, index: int) -> LargePicture | None:
        sample = self._samples.get(self._test.paths[index])
        if sample is None:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DoubtfulImageWarning)  # the test has given it
                found = read_sample(sample)
        except InputError:
            return None
        if found.content_hash != self._test.hashes[index]:
            return None
        picture, original_size = found.image, (found.image.height, found.image.width)
        picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
        size = picture.height, picture.width
        truth = found.mask
        if truth is not None:
            truth = preprocess_mask(truth, size=size, aspect="stretch")
        height, width = self._test.images.shape[1:3]
        frame = working_frame(size, size=(height, width), aspect=self._data.aspect)
        return LargePicture(np.asarray(picture), truth, frame, original_size, True)

    def _of_working_size(self, index: int) -> LargePicture:
        test = self._test
        height, width = size = test.images.shape[1:3]
        truth = test.masks[index] if test.annotated[index] else None
        original_size = test.original_sizes[index]
        frame = (0.0, 0.0, float(width), float(height))
        return LargePicture(test.images[index], truth, frame, original_size, original_size == size)

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        """Samples of the test split by path."""
        root = Path(self._data.data)
        if not os.path.exists(root) or is_packed(root):  # noqa: PTH110 (Path.exists may raise)
            return {}
        try:
            listing = list_samples(root, self._data.reading)
        except InputError:
            return {}
        return {sample.path: sample for sample in listing.test}

"""Masks: which pixels of a mask file are a defect.

Data sets mark defects by 255, by 1, by numbers of classes, in white on black or the other way
round, in a colour or by transparency. `read_mask` reads all of them by one rule.
"""

from functools import reduce
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool

from i3ad_jax.data.decoder import Decoded
from i3ad_jax.data.images import decode_file
from i3ad_jax.errors import InputError

MaskValues = Literal["auto", "nonzero", "soft", "inverted"]


def read_mask(
    source: Path | bytes, *, name: str | None = None, values: MaskValues = "auto"
) -> Bool[np.ndarray, "height width"]:
    """Return where a mask file marks a defect, upright as its EXIF data say.

    Args:
        source: a file, or the bytes of one.
        name: name of the mask in an error message, needed for bytes; by default the path.
        values: see `marked`.

    Raises:
        InputError: as for `read_image`; or colours differ, but not in the numbers of their pixels,
            such as red on white.
    """
    name = name or str(source)
    return marked(decode_file(source, name=name), name=name, values=values)


def marked(mask: Decoded, *, name: str, values: MaskValues) -> Bool[np.ndarray, "height width"]:
    """Return where a decoded mask marks a defect.

    The number of a pixel is the largest of its colour channels. Where the alpha channel varies,
    transparent pixels have the number 0, and if all others have one colour they are a defect.

    Args:
        mask: the mask.
        name: name of the mask in an error message.
        values: numbers that are a defect. "auto": of two numbers in the mask the larger one; of
            more every one that is not 0. In a lossy file, such as a JPEG, it is those above the
            middle between the smallest and the largest. "nonzero": every number that is not 0, as
            for numbers of classes. "soft": those from half of the full range. "inverted": as
            "auto", of the full range less the number.

    Raises:
        InputError: colours differ by little in their numbers, as red on white.
    """
    if _of_equal_numbers(mask):
        raise InputError(
            f"{name}: its colours have equal largest channels, so none can be told to mark the"
            " defect; convert it to white on black"
        )
    numbers = _numbers(mask)
    full = _full(mask)
    if values == "soft":
        return numbers > full // 2
    if values == "inverted":
        numbers = full - numbers
    low, high = int(numbers.min()), int(numbers.max())
    if values == "nonzero" or low == high:
        return numbers != 0
    if mask.lossy:
        return numbers > (low + high) // 2
    of_two = bool(((numbers == low) | (numbers == high)).all())
    return numbers == high if of_two else numbers != 0


def _of_equal_numbers(mask: Decoded) -> bool:
    """Return whether colours vary, and the numbers of pixels less than a third as much."""
    spread, noise = (np.std, _full(mask) / 64) if mask.lossy else (np.ptp, 0)
    widest = max(float(spread(channel)) for channel in mask.channels[0])
    return widest > noise and 3 * float(spread(_numbers(mask))) < widest


def _numbers(mask: Decoded) -> np.ndarray:
    """Return the number of each pixel, uint8 or uint16 `height width`."""
    colours, alpha = mask.channels
    # Channel by channel: NumPy is slow at a maximum over a last axis of 3.
    numbers = reduce(np.maximum, colours)
    if alpha is None or alpha.min() == alpha.max():
        return numbers
    visible = alpha > 0
    shown = numbers[visible]
    one_colour = shown.min() == shown.max()
    return np.where(visible, _full(mask) if one_colour else numbers, 0).astype(numbers.dtype)


def _full(mask: Decoded) -> int:
    return 255 if mask.deep is None else 2**mask.bits - 1

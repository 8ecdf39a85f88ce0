"""What a detector says of images."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from i3ad_jax.data.images import Aspect, File, Size, read_image, restore_map
from i3ad_jax.errors import InputError


@dataclass(frozen=True)
class Prediction:
    """What a detector says of an image.

    Attributes:
        name: its path, or its position among the images given.
        scores: image score by name, higher where the image looks more anomalous.
        anomalous: by the same names, whether the score is above the threshold that normal images gave.
        headline: the name of the score to trust, chosen by defects planted in normal images.
        source: the image's file or the file's content, or the image itself, RGB, if it was given so.
        original_size: height and width of the image.
        small_maps: anomaly map by the same names, in the detector's working size.
        aspect: how the image was brought to that size.
    """

    name: str
    scores: dict[str, float]
    anomalous: dict[str, bool]
    headline: str
    source: File | bytes | Image.Image
    original_size: Size
    small_maps: dict[str, Float[np.ndarray, "h w"]]
    aspect: Aspect

    def anomaly_map(self, *, score: str | None = None) -> Float[np.ndarray, "height width"]:
        """The anomaly map of a score, by default the headline, in the size of the image, float32."""
        small = self.small_maps[score or self.headline]
        return restore_map(small, original_size=self.original_size, aspect=self.aspect)

    @cached_property
    def original(self) -> UInt8[np.ndarray, "height width 3"]:
        """The image itself, RGB, in its own size. That of a file is read again: many do not fit in memory.

        Raises:
            InputError: the file cannot be read any more, or holds an image of another size.
        """
        source = self.source
        picture = source if isinstance(source, Image.Image) else read_image(source, name=self.name)
        if (picture.height, picture.width) != self.original_size:
            raise InputError(f"{self.name}: has been replaced by another image since it was scored")
        return np.asarray(picture)


@dataclass(frozen=True)
class Trace:
    """Every state of the test-time loop for each image, in the detector's working size.

    Attributes:
        reconstructions: after the first pass, then after each recorded iteration.
        masks: True where a state was last inpainted; everywhere for a method without a mask.
        scores: the SSIM anomaly score of each state.
        iterations: after how many iterations each state stands.
    """

    reconstructions: UInt8[np.ndarray, "n t h w 3"]
    masks: Bool[np.ndarray, "n t h w"]
    scores: Float[np.ndarray, "n t h w"]
    iterations: tuple[int, ...]

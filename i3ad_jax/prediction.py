"""What a detector says of images."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from i3ad_jax.data.images import Aspect, restore_map


@dataclass(frozen=True)
class Prediction:
    """What a detector says of an image.

    Attributes:
        name: its path, or its position among the images given.
        scores: image score by name, higher where the image looks more anomalous.
        anomalous: by the same names, whether the score is above the threshold that normal images gave.
        headline: the name of the score to trust, chosen by defects planted in normal images.
        original: the image itself, RGB, in its own size.
        small_maps: anomaly map by the same names, in the detector's working size.
        aspect: how the image was brought to that size.
    """

    name: str
    scores: dict[str, float]
    anomalous: dict[str, bool]
    headline: str
    original: UInt8[np.ndarray, "height width 3"]
    small_maps: dict[str, Float[np.ndarray, "h w"]]
    aspect: Aspect

    def anomaly_map(self, *, score: str | None = None) -> Float[np.ndarray, "height width"]:
        """The anomaly map of a score, by default the headline, in the size of the image, float32."""
        small = self.small_maps[score or self.headline]
        return restore_map(small, original_size=self.original.shape[:2], aspect=self.aspect)


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

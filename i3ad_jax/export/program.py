"""One traced function from pixels to scores, maps and verdicts.

`Detector.score` does the same in several.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt8

from i3ad_jax.detector import Detector
from i3ad_jax.methods.method import Queue
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.scoring.maps import SEGMENTATION
from i3ad_jax.shapes import Maps

Scored = dict[str, Any]
"""`scores`, `anomalous` and `maps`, each a dict by the name of the score."""


def scoring_program(detector: Detector) -> Callable[[UInt8[Array, "n h w 3"]], Scored]:
    """A function of images of the working size, any number of them, to be traced by JAX.

    Units of the data, tiles, weights, statistics and thresholds are constants of the program. It
    gives

    - `scores`: the image scores by name, float32 `n`;
    - `anomalous`: by the same names whether the score is above its threshold, bool `n`;
    - `maps`: the anomaly maps by the same names, float32 `n h w`.
    """
    method, calibration = detector.method, detector.calibration
    preprocessing = detector.preprocessing
    tiles = len(preprocessing.tiling.corners)
    parameters = method.parameters(calibration.tuned)

    def plain(squares: Squares) -> dict[str, Maps]:
        rows = squares.images.shape[0]
        # Whole images go together, however many: one alone does not wait for empty slots. But tiles
        # are many, and gradients of convolutions by a kernel for each image want to know how many.
        together = rows if tiles == 1 else min(method.throughput.test_batch_size, tiles)
        if isinstance(method, ReconstructionMethod) and method.iterations:
            together = 1
        queue = Queue(squares, jnp.asarray(rows, jnp.int32), together)
        return method.examine(detector.state, parameters, queue).maps

    def program(images: UInt8[Array, "n h w 3"]) -> Scored:
        maps = preprocessing.traced(plain, images)
        if preprocessing.levels:
            segment = partial(method.segment, detector.state)
            maps[SEGMENTATION] = preprocessing.traced_levels(segment, images)
        maps = calibration.complete(maps)
        scores: dict[str, Float[Array, " n"]] = calibration.image_scores(maps)
        anomalous: dict[str, Bool[Array, " n"]] = {
            name: values > calibration.thresholds[name] for name, values in scores.items()
        }
        return {"scores": scores, "anomalous": anomalous, "maps": maps}

    return program

"""Every state of the test-time loop of I3AD for many images, and metrics of each state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from i3ad_jax.data.dataset import Split
from i3ad_jax.detector import Detector
from i3ad_jax.inpainting.refine import STATE_VALUES, Trajectory
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.method import Queue, State
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import copied_to, devices_for, shard_over_devices
from i3ad_jax.scoring.maps import image_scores, l2_map
from i3ad_jax.scoring.metrics import image_auroc, pixel_auroc
from i3ad_jax.shapes import Images, Maps

MEMORY = 1 << 30  # bytes that the states of one queue's squares may take
METRICS = ("image", "pixel")  # what an AUROC ranks
SCORES = ("l2", "ssim")  # the paper's
MEAN = "mean"  # of the AUROC of these two, as Figure 4 (a) has it


class Trajectories(NamedTuple):
    """States of the loop: after the checkerboard pass and each iteration (t = iterations + 1).

    Attributes:
        maps: the anomaly maps of each score, float32.
        masks: region of the last inpainting of each state; everywhere for the checkerboard pass.
        iterations: after how many each image stayed as it was; of an image in tiles, its last tile.
    """

    maps: dict[str, Float[np.ndarray, "n t h w"]]
    masks: Bool[np.ndarray, "n t h w"]
    iterations: Int[np.ndarray, " n"]


def trajectories(detector: Detector, images: UInt8[np.ndarray, "n h w 3"]) -> Trajectories:
    """Return the states of all images, by as few queues as memory allows.

    Each square costs its own iterations.

    Args:
        detector: of I3AD.
        images: to examine, of the detector's working size.
    """
    method, preprocessing = detector.method, detector.preprocessing
    assert isinstance(method, I3AD)
    squares = len(images) * len(preprocessing.tiling.corners)
    states = len(method.trace_iterations)
    # a queue's end, its slowest square alone, is expensive
    bytes_per_square = 4 * STATE_VALUES * preprocessing.side**2 * states
    size = max(1, min(squares, MEMORY // bytes_per_square))
    devices = devices_for(size, together=method.throughput.test_batch_size)
    weights = detector.state, method.parameters(detector.calibration.tuned)
    state, parameters = copied_to(devices, weights)
    ends: list[np.ndarray] = []

    def trace(queue: Squares, count: int) -> Any:
        arguments = copied_to(devices, (queue, jnp.int32(count)))
        states, iterations = _trace(method, devices, state, parameters, *arguments)
        ends.append(np.asarray(iterations[:count]))
        return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 3), states)  # states after pixels

    whole: Any = preprocessing.apply(trace, images, queue_size=size, values=3 * states)
    maps, masks = jax.tree.map(lambda x: np.moveaxis(x, 3, 1), whole)
    return Trajectories(
        maps, masks > 0.5, np.concatenate(ends).reshape(len(images), -1).max(axis=1)
    )


@jit(static_argnums=(0, 1))
def _trace(
    method: I3AD,
    devices: int,
    state: State,
    parameters: Float[Array, ""],
    squares: Squares,
    count: Int[Array, ""],
) -> tuple[tuple[dict[str, Float[Array, "n t s s"]], Float[Array, "n t s s"]], Int[Array, " n"]]:
    """Maps and masks of all states, and after how many iterations each square stayed as it was."""
    together = method.throughput.test_batch_size // devices

    def shard(squares: Squares, count: Int[Array, ""]) -> tuple[Trajectory, Int[Array, " b"]]:
        return method.trajectories_and_ends(state, parameters, Queue(squares, count, together))

    def l2(square: Squares, states: Images) -> Maps:
        image = square.pixels(square.images)
        return jax.vmap(lambda x: l2_map(image, square.pixels(x)))(states)

    traced, iterations = shard_over_devices(shard, squares, count=count, devices=devices)
    maps = {"l2": jax.vmap(l2)(squares, traced.images), "ssim": traced.scores}
    return (maps, traced.masks[..., 0]), iterations


def auroc(test: Split, maps: dict[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """AUROC by metric of `METRICS` and score, the mean of the paper's two scores included.

    NaN for pixels where no test image has a mask.

    Args:
        test: labels and masks of the images.
        maps: per kind of score the anomaly maps, `n h w`.
    """
    areas: dict[tuple[str, str], float | None] = {}
    for score, values in maps.items():
        areas["image", score] = image_auroc(test.labels, image_scores(values, "mean"))
        areas["pixel", score] = pixel_auroc(test.masks[test.annotated], values[test.annotated])
    found = {names: np.nan if area is None else area for names, area in areas.items()}
    means = {
        (metric, MEAN): np.mean([found[metric, score] for score in SCORES]) for metric in METRICS
    }
    return {**found, **{names: float(mean) for names, mean in means.items()}}


def auroc_curves(
    test: Split, traced: Trajectories
) -> dict[tuple[str, str], Float[np.ndarray, " t"]]:
    """AUROC of the maps after each iteration."""
    last = int(traced.iterations.max())
    areas = [
        auroc(test, {k: maps[:, i] for k, maps in traced.maps.items()}) for i in range(last + 1)
    ]
    # From there on no image changes.
    areas += areas[-1:] * (traced.masks.shape[1] - len(areas))
    return {names: np.array([area[names] for area in areas]) for names in areas[0]}

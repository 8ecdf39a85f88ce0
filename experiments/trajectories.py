"""Every state of the test-time loop of I3AD for many images, and what metrics say of each state."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from i3ad_jax.data.dataset import Split
from i3ad_jax.detector import Detector
from i3ad_jax.inpainting.refine import Trajectory
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.method import Queue, State
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import copied_to, devices_for, shard_over_devices
from i3ad_jax.runtime.queues import by_queues
from i3ad_jax.scoring.maps import image_scores, l2_map
from i3ad_jax.scoring.metrics import image_auroc, pixel_auroc
from i3ad_jax.shapes import Images

MEMORY = 1 << 30  # bytes that the states of one queue may take
METRICS = ("image", "pixel")  # what an AUROC ranks
SCORES = ("l2", "ssim")  # the paper's
MEAN = "mean"  # of the AUROC of these two, as Figure 4 (a) has it


class Trajectories(NamedTuple):
    """States of the loop: after the checkerboard pass, then after each iteration (t = iterations + 1).

    Attributes:
        maps: the anomaly maps of each score, float32.
        masks: where each state was last inpainted; everywhere for the checkerboard pass.
        iterations: after how many each image stayed as it was.
    """

    maps: dict[str, Float[np.ndarray, "n t h w"]]
    masks: Bool[np.ndarray, "n t h w"]
    iterations: Int[np.ndarray, " n"]

    def stopped(self, tolerance: float) -> "Trajectories":
        """The states of loops that stop once a mask differs by at most this fraction from the one before.

        What the loop gives with that `stop_tolerance`, without another run of it.
        """
        sizes = self.masks.sum(axis=(2, 3))
        changes = (self.masks[:, 1:] ^ self.masks[:, :-1]).sum(axis=(2, 3))
        ends = np.zeros(sizes.shape, bool)
        # Not the checkerboard pass, which is no application of its mask.
        ends[:, 1:-1] = changes[:, 1:] <= tolerance * sizes[:, 1:-1]
        ends[:, -1] = True
        last = ends.argmax(axis=1)
        state = np.minimum(np.arange(self.masks.shape[1]), last[:, None])[..., None, None]
        states = {name: np.take_along_axis(maps, state, axis=1) for name, maps in self.maps.items()}
        return Trajectories(states, np.take_along_axis(self.masks, state, axis=1), last)


def trajectories(detector: Detector, images: UInt8[np.ndarray, "n h w 3"]) -> Trajectories:
    """The states of all images, by as few queues as memory allows; each image costs its own iterations.

    Args:
        detector: of I3AD.
        images: to examine, of the detector's working size.
    """
    method = detector.method
    assert isinstance(method, I3AD)
    # Image, mask and score of each state; a queue's end, where its slowest image runs alone, is dear.
    bytes_per_image = 4 * (3 + 1 + 1) * images[0, ..., 0].size * (method.test.refine.iterations + 1)
    size = max(1, min(len(images), MEMORY // bytes_per_image))
    devices = devices_for(size, together=method.throughput.test_batch_size)
    weights = detector.state, method.parameters(detector.calibration.tuned)
    state, parameters = copied_to(devices, weights)

    def trace(queue: Images, count: int) -> Trajectories:
        return _trace(method, devices, state, parameters, *copied_to(devices, (queue, jnp.int32(count))))

    return by_queues(trace, images, size=size)


@jit(static_argnums=(0, 1))
def _trace(
    method: I3AD,
    devices: int,
    state: State,
    parameters: Float[Array, ""],
    images: Images,
    count: Int[Array, ""],
) -> Trajectories:
    together = method.throughput.test_batch_size // devices

    def shard(images: Images, count: Int[Array, ""]) -> tuple[Trajectory, Int[Array, " b"]]:
        return method.trajectories_and_ends(state, parameters, Queue(images, count, together))

    traced, iterations = shard_over_devices(shard, images, count=count, devices=devices)
    l2 = jax.vmap(lambda image, states: jax.vmap(lambda x: l2_map(image, x))(states))
    maps = {"l2": l2(images, traced.images), "ssim": traced.scores}
    return Trajectories(maps, traced.masks[..., 0] > 0, iterations)  # pyright: ignore


def auroc(test: Split, maps: dict[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """AUROC by metric of `METRICS` and score, the mean of the paper's two scores included.

    NaN for pixels where no test image has a mask.

    Args:
        test: what is normal in the images.
        maps: per kind of score the anomaly maps, `n h w`.
    """
    areas: dict[tuple[str, str], float | None] = {}
    for score, values in maps.items():
        areas["image", score] = image_auroc(test.labels, image_scores(values))
        areas["pixel", score] = pixel_auroc(test.masks[test.annotated], values[test.annotated])
    found = {names: np.nan if area is None else area for names, area in areas.items()}
    means = {(metric, MEAN): np.mean([found[metric, score] for score in SCORES]) for metric in METRICS}
    return {**found, **{names: float(mean) for names, mean in means.items()}}


def auroc_curves(test: Split, traced: Trajectories) -> dict[tuple[str, str], Float[np.ndarray, " t"]]:
    """What `auroc` says of the maps after each iteration."""
    last = int(traced.iterations.max())
    areas = [auroc(test, {k: maps[:, i] for k, maps in traced.maps.items()}) for i in range(last + 1)]
    # From there on no image changes.
    areas += areas[-1:] * (traced.masks.shape[1] - len(areas))
    return {names: np.array([area[names] for area in areas]) for names in areas[0]}

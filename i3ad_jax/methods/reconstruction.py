"""Methods that compare an image with one reconstruction of it: all baselines of the paper."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from i3ad_jax.config import Config
from i3ad_jax.inpainting.refine import Trajectory, anomaly_score, ms_ssim_score
from i3ad_jax.methods.method import Calibration, Metrics, State
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import copied_to, devices_for, spread_over_devices
from i3ad_jax.scoring.maps import l2_map
from i3ad_jax.shapes import Image, Images, Map, Maps, PRNGKey

TRACED_STATES = 50  # besides the first
Search = Any  # a pytree: where a test-time optimiser stands


class Model(Protocol):
    """What a baseline has to offer to become a `Method`; functions of one image are `vmap`ped.

    What is written out here is for a model that reconstructs at once; it may be left as it is.

    Attributes:
        iterations: of the test-time optimiser; 0 without one.
    """

    iterations: int = 0

    @abstractmethod
    def init(self, key: PRNGKey) -> State:
        """As `Method.init`."""

    def step(self, state: State, images: Images, key: PRNGKey) -> tuple[State, Metrics]:
        """As `Method.step`; a model that learns by `fit` has none."""
        return state, {}

    def fit(self, images: Images) -> State | None:
        """As `Method.fit`."""
        return None

    @abstractmethod
    def begin(self, state: State, image: Image) -> Search:
        """Where the test-time optimiser starts: the reconstruction itself where there is none."""

    def improve(self, state: State, image: Image, search: Search) -> Search:
        """One iteration of the test-time optimiser."""
        return search

    def reconstruction(self, state: State, search: Search) -> Image:
        """The reconstruction at which it stands, in [-1, 1]."""
        return search

    def features(self, state: State, image: Image) -> Float[Array, " f"] | None:
        """What a discriminator sees in an image; None without one."""
        return None


class Reconstruction:
    """A `Method` made of a `Model`: the scores l2, ssim and ms_ssim, and l2_ld where the model has features.

    l2_ld is the L2 map plus the mean squared distance of the features of image and reconstruction, a number
    for the whole image that each of its pixels gets: A(x) of Schlegl et al. 2019, equation 5, with kappa 1.
    """

    start = "reconstruction"

    def __init__(self, config: Config, model: Model) -> None:
        self.config, self.model = config, model
        steps = min(TRACED_STATES, model.iterations)
        self.traced: Sequence[int] = [round(i * model.iterations / max(steps, 1)) for i in range(steps + 1)]

    def init(self, key: PRNGKey) -> State:
        return self.model.init(key)

    def step(self, state: State, images: Images, key: PRNGKey) -> tuple[State, Metrics]:
        return self.model.step(state, images, key)

    def fit(self, images: Images) -> State | None:
        return self.model.fit(images)

    @jit(static_argnums=0)
    def sample(self, state: State, images: Images, key: PRNGKey) -> Float[Array, "rows b h w c"]:
        return jnp.stack([images, jax.vmap(lambda image: self.reconstruct(state, image))(images)])

    def calibrate(self, state: State, images: Images) -> Calibration:
        return {}

    def anomaly_maps(
        self, state: State, calibration: Calibration, images: Images, count: int
    ) -> dict[str, Maps]:
        devices = devices_for(len(images), together=self.config.refine.test_batch_size)
        return self._anomaly_maps(devices, *copied_to(devices, (state, images, jnp.int32(count))))

    def trace(self, state: State, calibration: Calibration, images: Images) -> Trajectory:
        return self._trace(state, images)

    def reconstruct(self, state: State, image: Image) -> Image:
        """The reconstruction after all iterations."""
        search = self._search(state, image, self.model.begin(state, image), self.model.iterations)
        return self.model.reconstruction(state, search)

    def maps(self, state: State, image: Image) -> dict[str, Map]:
        """The map of each score of an image."""
        reconstruction = self.reconstruct(state, image)
        l2 = l2_map(image, reconstruction)
        maps = {
            "l2": l2,
            "ms_ssim": ms_ssim_score(image, reconstruction, self.config.refine),
            "ssim": anomaly_score(image, self.config.refine)(reconstruction),
        }
        seen, remade = (self.model.features(state, x) for x in (image, reconstruction))
        if seen is not None and remade is not None:
            maps["l2_ld"] = l2 + jnp.mean((seen - remade) ** 2)
        return maps

    @jit(static_argnums=(0, 1))
    def _anomaly_maps(
        self, devices: int, state: State, images: Images, count: Int[Array, ""]
    ) -> dict[str, Maps]:
        """A few images at a time, for the sake of memory, and none of those that fill up the queue."""
        map_batch = jax.vmap(lambda image: self.maps(state, image))

        def queue(images: Images, count: Int[Array, ""]) -> dict[str, Maps]:
            together = min(self.config.refine.test_batch_size // devices, len(images))

            def add(part: Int[Array, ""], results: dict[str, Maps]) -> dict[str, Maps]:
                # The last batch begins early enough to be full; what was done before comes out as before.
                first = jnp.minimum(part * together, len(images) - together)
                maps = map_batch(lax.dynamic_slice_in_dim(images, first, together))
                return jax.tree.map(
                    lambda everyone, x: lax.dynamic_update_slice_in_dim(everyone, x, first, axis=0),
                    results,
                    maps,
                )

            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(map_batch, images))
            return lax.fori_loop(0, -(-count // together), add, nothing)

        return spread_over_devices(queue, images, count=count, devices=devices)

    @jit(static_argnums=0)
    def _trace(self, state: State, images: Images) -> Trajectory:
        return jax.vmap(lambda image: self._trace_one(state, image))(images)

    def _trace_one(self, state: State, image: Image) -> Trajectory:
        score = anomaly_score(image, self.config.refine)

        def record(search: Search, iterations: Int[Array, ""]) -> tuple[Search, Trajectory]:
            search = self._search(state, image, search, iterations)
            reconstruction = self.model.reconstruction(state, search)
            everything = jnp.ones_like(image[..., :1])
            return search, Trajectory(reconstruction, everything, score(reconstruction))

        strides = jnp.diff(jnp.array(self.traced), prepend=0)
        return lax.scan(record, self.model.begin(state, image), strides)[1]

    def _search(self, state: State, image: Image, search: Search, iterations: int | Int[Array, ""]) -> Search:
        return lax.fori_loop(
            0, iterations, lambda _, search: self.model.improve(state, image, search), search
        )

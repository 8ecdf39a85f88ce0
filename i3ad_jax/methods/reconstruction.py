# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""Methods that reconstruct each image by itself: all baselines of the paper."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from i3ad_jax.inpainting.refine import Trajectory
from i3ad_jax.methods.method import Method, Parameters, Queue, State
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import in_batches
from i3ad_jax.scoring.ssim import ssim_anomaly
from i3ad_jax.shapes import Image, Images, PRNGKey

TRACED_STATES = 50  # besides the first
Search = Any  # a pytree: where a test-time optimiser stands


class ReconstructionMethod(Method):
    """A method whose subclasses say how one image is reconstructed; their functions are `vmap`ped.

    What is written out here is for a method that reconstructs at once; it may be left as it is.
    """

    @property
    def iterations(self) -> int:
        """Steps of the test-time optimiser; 0 without one."""
        return 0

    @abstractmethod
    def begin(self, state: State, image: Image) -> Search:
        """Return the start of the test-time optimiser; without one the reconstruction itself."""

    def improve(self, state: State, image: Image, search: Search) -> Search:
        """One iteration of the test-time optimiser."""
        return search

    def reconstruction(self, state: State, search: Search) -> Image:
        """The reconstruction at which it stands, in [-1, 1]."""
        return search

    @property
    def trace_iterations(self) -> Sequence[int]:
        """See `Method.trace_iterations`: at most 50 of them besides the first."""
        steps = min(TRACED_STATES, self.iterations)
        return [round(i * self.iterations / max(steps, 1)) for i in range(steps + 1)]

    @jit(static_argnums=0)
    def sample(self, state: State, images: Images, key: PRNGKey) -> Float[Array, "rows b h w c"]:
        """The images, and their reconstructions."""
        return jnp.stack([images, jax.vmap(partial(self.reconstruct_one, state))(images)])

    def reconstruct_one(self, state: State, image: Image) -> Image:
        """The reconstruction after all iterations."""
        search = self._search(state, image, self.begin(state, image), self.iterations)
        return self.reconstruction(state, search)

    def reconstruct(self, state: State, parameters: Parameters, queue: Queue) -> Images:
        """See `Method.reconstruct`."""
        one = jax.vmap(partial(self.reconstruct_one, state))
        return in_batches(
            one, queue.squares.images, count=queue.num_images, batch_size=queue.together
        )

    @jit(static_argnums=0)
    def reconstruct_once(self, state: State, images: Images) -> Images | None:
        """Return the reconstructions, as `Method.reconstruct_once`, unless they need a search."""
        if self.iterations:
            return None
        queue = Queue(
            Squares.of_pixels(images), jnp.int32(len(images)), self.throughput.test_batch_size
        )
        return self.reconstruct(state, (), queue)

    def trajectories(self, state: State, parameters: Parameters, queue: Queue) -> Trajectory:
        """See `Method.trajectories`; masks are all ones, as every pixel is reconstructed."""
        one = jax.vmap(partial(self._trajectory, state))
        return in_batches(one, queue.squares, count=queue.num_images, batch_size=queue.together)

    def _trajectory(self, state: State, square: Squares) -> Trajectory:
        image = square.images
        score = ssim_anomaly(square.pixels(image), self.ssim)

        def record(search: Search, iterations: Int[Array, ""]) -> tuple[Search, Trajectory]:
            search = self._search(state, image, search, iterations)
            reconstruction = self.reconstruction(state, search)
            return search, Trajectory(
                reconstruction, jnp.ones_like(image[..., :1]), score(square.pixels(reconstruction))
            )

        strides = jnp.diff(jnp.array(self.trace_iterations), prepend=0)
        return lax.scan(record, self.begin(state, image), strides)[1]

    def _search(
        self, state: State, image: Image, search: Search, iterations: int | Int[Array, ""]
    ) -> Search:
        def improve(_: Int[Array, ""], search: Search) -> Search:
            return self.improve(state, image, search)

        return lax.fori_loop(0, iterations, improve, search)

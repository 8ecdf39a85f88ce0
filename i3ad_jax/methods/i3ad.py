"""I3AD: an inpainting GAN trained on normal images, and the loop that inpaints what looks wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from i3ad_jax.inpainting.choose_u import U_CANDIDATES, ThresholdSettings, choose_u
from i3ad_jax.inpainting.losses import discount_weights
from i3ad_jax.inpainting.masks import brush_mask
from i3ad_jax.inpainting.queue import refine_queue, trace_queue
from i3ad_jax.inpainting.refine import Inpaint, LoopSettings, State, Trajectory, refine, trace
from i3ad_jax.methods.inpainting_gan import QUICK, GanSettings, GanState, InpaintingGan, paste
from i3ad_jax.methods.method import ComputeSettings, Method, Metrics, Queue, Tuned, check_image_size
from i3ad_jax.nn.inpainter import MIN_SIZE, SIZE_MULTIPLE
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import in_batches
from i3ad_jax.runtime.queues import by_queues
from i3ad_jax.settings import SettingError, setting
from i3ad_jax.shapes import Image, Images, Mask, Masks, PRNGKey


@dataclass(frozen=True)
class I3adSettings(GanSettings):
    """Networks and training of I3AD."""

    discount: float = setting(0.99, above=0, maximum=1)
    """Base of the spatial discount: a hole pixel d pixels away from known ones weighs discount**d."""


@dataclass(frozen=True)
class I3adTestSettings(ComputeSettings):
    """The test-time procedure of I3AD."""

    refine: LoopSettings = field(default_factory=LoopSettings)
    threshold: ThresholdSettings = field(default_factory=ThresholdSettings)
    loop: Literal["queue", "fixed"] = "queue"
    """How the loop is computed: queue gives each image only the iterations that it needs, fixed computes
    all of them for every image. The results are the same but for rounding."""


@dataclass(frozen=True)
class I3AD(Method):
    """The paper's method; see `Method` for what each function promises."""

    training: I3adSettings
    test: I3adTestSettings

    name: ClassVar[str] = "i3ad"
    start: ClassVar[str] = "checkerboard pass"
    presets: ClassVar = {
        "quick": (I3adSettings(**QUICK), I3adTestSettings()),
        "paper": (I3adSettings(), I3adTestSettings()),
    }

    def __post_init__(self) -> None:
        check_image_size(self, multiple=SIZE_MULTIPLE, smallest=MIN_SIZE)
        if (patches := self.test.refine.patches) > self.image_size:
            raise SettingError("patches", patches, f"must be at most the image size, {self.image_size}")

    @property
    def gan(self) -> InpaintingGan:
        """Both networks."""
        return InpaintingGan(self.training, self.image_size, self.test.dtype)

    @property
    def trace_iterations(self) -> Sequence[int]:
        """Every iteration."""
        return range(self.test.refine.iterations + 1)

    @property
    def fill_patches(self) -> int:
        """As `Method.fill_patches`."""
        return self.test.refine.patches

    def init(self, key: PRNGKey) -> GanState:
        """Fresh weights and optimisers."""
        return self.gan.init(key)

    def step(self, state: GanState, images: Images, key: PRNGKey) -> tuple[GanState, Metrics]:
        """One update of each network."""
        masks = brush_masks(key, images)
        weights = discount_weights(masks, discount=self.training.discount)
        return self.gan.step(state, images, inputs=images * (1 - masks), masks=masks, weights=weights)

    @jit(static_argnums=0)
    def sample(self, state: GanState, images: Images, key: PRNGKey) -> Float[Array, "rows b h w c"]:
        """The images, their masked copies, and those inpainted."""
        masks = brush_masks(key, images)
        _, fine = self.gan.inpaint(state.generator, images * (1 - masks), masks)
        return jnp.stack([images, images * (1 - masks), paste(images, masks, fine)])

    def tune(
        self, state: GanState, images: UInt8[np.ndarray, "n h w 3"], *, seed: int, progress: bool = False
    ) -> Tuned:
        """The threshold u: what `--u` says, or the paper's rule on a random `--u-images` of the images.

        The rule's own number of iterations decides, not the loop's: u does not depend on `--iterations`.
        """
        rule = self.test.threshold
        if rule.u is not None:
            return {"u": rule.u, "u_reason": "given by --u"}
        count = min(rule.u_images, len(images))
        chosen = images[np.sort(np.random.default_rng(seed).permutation(len(images))[:count])]
        candidates = U_CANDIDATES[self.test.refine.base]
        # A queue holds an image once for each candidate.
        each = by_queues(
            lambda queue, number: self._l1_errors(state, queue, jnp.int32(number)),
            chosen,
            size=max(self.throughput.queue_size // len(candidates), 1),
            label="choose u" if progress else None,
        )
        means = each.mean(axis=0, dtype=np.float64)
        errors = dict(zip(candidates, means.tolist(), strict=True))
        u, reason = choose_u(errors, tolerance=rule.u_tolerance)
        return {"u": u, "u_reason": reason, "u_errors": {f"{x:.2f}": error for x, error in errors.items()}}

    def parameters(self, tuned: Tuned) -> Float[Array, ""]:
        """The threshold u.

        Raises:
            ValueError: it is no number from 0 to 2.
        """
        u = tuned["u"]
        if isinstance(u, bool) or not isinstance(u, int | float) or not 0 <= u <= 2:
            raise ValueError(f"u {u!r} is no number from 0 to 2")
        return jnp.float32(u)

    def inpaint(self, state: GanState) -> Inpaint:
        """The trained generator as a function of one masked image and its mask."""

        def inpaint(image: Image, mask: Mask) -> Image:
            _, fine = self.gan.inpaint(state.generator, image[None], mask[None])
            return fine[0]

        return inpaint

    def reconstruct(self, state: GanState, parameters: Float[Array, ""], queue: Queue) -> Images:
        """The images after all iterations of the loop."""
        return self._refined(state, parameters, queue, self.test.refine).image

    @jit(static_argnums=0)
    def reconstruct_once(self, state: GanState, images: Images) -> Images:
        """The images after the checkerboard pass."""
        queue = Queue(images, jnp.int32(len(images)), self.throughput.test_batch_size)
        u = jnp.float32(0)  # no iteration asks for it
        return self._refined(state, u, queue, replace(self.test.refine, iterations=0)).image

    def trajectories(self, state: GanState, parameters: Float[Array, ""], queue: Queue) -> Trajectory:
        """Every state of the loop."""
        return self.trajectories_and_ends(state, parameters, queue)[0]

    def trajectories_and_ends(
        self, state: GanState, parameters: Float[Array, ""], queue: Queue
    ) -> tuple[Trajectory, Int[Array, " b"]]:
        """Every state of the loop, and after how many iterations each image stays as it is."""
        images, count, together = queue
        options = {"u": parameters, "settings": self.test.refine, "ssim": self.ssim}
        if self.test.loop == "fixed":
            one = jax.vmap(partial(trace, self.inpaint(state), **options))
            return in_batches(one, images, count=count, batch_size=together)
        return trace_queue(self.inpaint(state), images, count=count, slots=together, **options)

    def _refined(
        self, state: GanState, u: Float[Array, "..."], queue: Queue, settings: LoopSettings
    ) -> State:
        images, count, together = queue
        options = {"settings": settings, "ssim": self.ssim}
        if self.test.loop == "fixed":
            each = jnp.broadcast_to(u, len(images))
            one = jax.vmap(lambda image, u: refine(self.inpaint(state), image, u=u, **options))
            return in_batches(lambda x: one(*x), (images, each), count=count, batch_size=together)
        return refine_queue(self.inpaint(state), images, count=count, slots=together, u=u, **options)

    @jit(static_argnums=0)
    def _l1_errors(
        self, state: GanState, images: Images, count: Int[Array, ""]
    ) -> Float[Array, "b candidates"]:
        """Mean L1 error, in [0, 1], after the rule's number of iterations with each candidate u.

        Only the first `count` rows mean something.
        """
        loop = replace(self.test.refine, iterations=self.test.threshold.u_iterations)
        candidates = U_CANDIDATES[loop.base]
        each = len(candidates)
        repeated, u = jnp.repeat(images, each, axis=0), jnp.tile(jnp.array(candidates), len(images))
        queue = Queue(repeated, count * each, self.throughput.test_batch_size)
        refined = self._refined(state, u, queue, loop)
        return (jnp.mean(jnp.abs(refined.image - repeated), axis=(1, 2, 3)) / 2).reshape(-1, each)


def brush_masks(key: PRNGKey, images: Images) -> Masks:
    """A training mask for each image."""
    batch, height, width, _ = images.shape
    keys = jax.random.split(key, batch)
    return jax.vmap(lambda key: brush_mask(key, height=height, width=width))(keys)

# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""I3AD: an inpainting GAN trained on normal images, and the loop that inpaints what looks wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from i3ad_jax.inpainting.choose_u import U_CANDIDATES, ThresholdSettings, choose_u
from i3ad_jax.inpainting.losses import discount_weights
from i3ad_jax.inpainting.masks import (
    NUM_CHECKERBOARDS,
    brush_masks,
    checkerboard_masks,
    mixed_masks,
)
from i3ad_jax.inpainting.queue import queue_loops, refine_queue, trace_queue
from i3ad_jax.inpainting.refine import (
    AnomalyScore,
    Inpaint,
    LoopSettings,
    State,
    Trajectory,
    refine,
    trace,
)
from i3ad_jax.methods.inpainting_gan import (
    GPU,
    PAPER_SMALL,
    QUICK,
    STANDARD,
    GanSettings,
    GanState,
    InpaintingGan,
    gan_trained_with,
    paste,
)
from i3ad_jax.methods.method import (
    Batch,
    ComputeSettings,
    Detail,
    Method,
    Metrics,
    Queue,
    Tuned,
)
from i3ad_jax.methods.segmentation_head import SegmentationHead, SegmenterSettings, SegmenterState
from i3ad_jax.nn.inpainter import MIN_SIZE, SIZE_MULTIPLE
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import in_batches
from i3ad_jax.runtime.queues import by_queues
from i3ad_jax.scoring.ssim import ssim_anomaly
from i3ad_jax.settings import SettingError, setting
from i3ad_jax.shapes import Image, Images, Map, Maps, Mask, Masks, PRNGKey

Driven = TypeVar("Driven")  # what a driver of the loop gives: last states, or all of them


@dataclass(frozen=True)
class I3adSettings(GanSettings):
    """Networks and training of I3AD."""

    discount: float = setting(0.99, above=0, maximum=1)
    """Base of the spatial discount: a hole pixel d pixels away from known ones weighs
    discount**d."""
    training_masks: Literal["brush", "mixed"] = "brush"
    """Holes to learn from. brush: brush strokes, as in the paper. mixed: for every other image one
    of the four masks of a checkerboard of random place and size, as in the test's first pass."""
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)


_SMALL: Mapping[str, Any] = {
    "training_masks": "mixed",
    "segmenter": SegmenterSettings(segmenter_width=16),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class I3adState:
    """The inpainting GAN and the segmentation network; None where the settings leave it out."""

    gan: GanState
    segmenter: SegmenterState | None


@dataclass(frozen=True)
class I3adTestSettings(ComputeSettings):
    """The test-time procedure of I3AD."""

    refine: LoopSettings = field(default_factory=LoopSettings)
    threshold: ThresholdSettings = field(default_factory=ThresholdSettings)
    loop: Literal["queue", "fixed"] = "queue"
    """Computation of the loop. queue: only the iterations that each image needs. fixed: all of them
    for every image. The results are the same up to rounding."""


@dataclass(frozen=True)
class I3AD(Method):
    """The paper's method; see `Method` for what each function promises."""

    training: I3adSettings
    test: I3adTestSettings

    name: ClassVar[str] = "i3ad"
    start: ClassVar[str] = "checkerboard pass"
    size_multiple: ClassVar[int] = SIZE_MULTIPLE
    smallest_size: ClassVar[int] = MIN_SIZE
    presets: ClassVar = {
        "standard": (I3adSettings(**STANDARD, **_SMALL), I3adTestSettings()),
        "quick": (I3adSettings(**QUICK, **_SMALL), I3adTestSettings()),
        "gpu": (I3adSettings(**GPU, **_SMALL), I3adTestSettings(dtype="bfloat16")),
        "paper": (I3adSettings(), I3adTestSettings()),
        "paper_small": (I3adSettings(**PAPER_SMALL), I3adTestSettings()),
    }

    @classmethod
    def validate(cls, training: Any, test: Any, image_size: int) -> None:
        """Check side, patches and segmenter, as `Method.validate`."""
        super().validate(training, test, image_size)
        if (patches := test.refine.patches) > image_size:
            raise SettingError("patches", patches, f"must be at most the image size, {image_size}")
        segmenter = training.segmenter
        if segmenter.segmenter_width % 2:
            raise SettingError(
                "segmenter_width", segmenter.segmenter_width, "must be an even number"
            )
        side, depth = segmenter.segmenter_side, segmenter.segmenter_depth
        if segmenter.segmenter_width and side % 2**depth:
            problem = f"--segmenter-side, {side}, is not a multiple of 2 to this power"
            raise SettingError("segmenter_depth", depth, problem)

    @property
    def gan(self) -> InpaintingGan:
        """Both networks."""
        return InpaintingGan(self.training, self.image_size, self.test.dtype, self.ssim)

    @property
    def head(self) -> SegmentationHead | None:
        """The network that segments defects."""
        segmenter = self.training.segmenter
        return (
            SegmentationHead(segmenter, self.training.average, self.test.dtype)
            if segmenter.segmenter_width
            else None
        )

    @classmethod
    def batch_sizes(cls, training: Any) -> dict[str, int]:
        """See `Method.batch_sizes`."""
        segmenter, sizes = training.segmenter, super().batch_sizes(training)
        planted = {"segmenter_batch_size": segmenter.segmenter_batch_size}
        return sizes | planted if segmenter.segmenter_width else sizes

    @classmethod
    def trained_with(cls, training: Any) -> frozenset[str]:
        """See `Method.trained_with`."""
        return gan_trained_with(training)

    @classmethod
    def detail(cls, training: Any) -> Detail | None:
        """See `Method.detail`: the inputs of the segmenter."""
        own = training.segmenter
        return (
            Detail(own.segmenter_side, own.segmenter_levels, 2**own.segmenter_depth)
            if own.segmenter_width
            else None
        )

    @property
    def gives(self) -> frozenset[str]:
        """See `Method.gives`."""
        return frozenset(["segmentation"] if self.head else [])

    @property
    def trace_iterations(self) -> Sequence[int]:
        """Every iteration."""
        return range(self.test.refine.iterations + 1)

    @property
    def fill_patches(self) -> int:
        """See `Method.fill_patches`."""
        return self.test.refine.patches

    def init(self, key: PRNGKey) -> I3adState:
        """Fresh weights and optimisers."""
        segmenter_key = jax.random.fold_in(key, 1)
        segmenter = self.head.init(segmenter_key) if self.head else None
        return I3adState(self.gan.init(key), segmenter)

    def step(self, state: I3adState, batch: Batch, key: PRNGKey) -> tuple[I3adState, Metrics]:
        """One update of each network; the segmenter's is on images with synthetic defects."""
        images = batch.images
        masks = self._training_masks(key, images)
        weights = discount_weights(masks, discount=self.training.discount)
        gan, metrics = self.gan.step(
            state.gan, images, inputs=images * (1 - masks), masks=masks, weights=weights
        )
        segmenter, planted = state.segmenter, batch.planted
        if self.head is not None and segmenter is not None and planted is not None:
            segmenter, loss = self.head.step(segmenter, *planted)
            metrics |= loss
        return I3adState(gan, segmenter), metrics

    def _training_masks(self, key: PRNGKey, images: Images) -> Masks:
        masks = brush_masks if self.training.training_masks == "brush" else mixed_masks
        return masks(key, images)

    @jit(optimise=False, static_argnums=0)  # a few pictures
    def sample(
        self, state: I3adState, images: Images, key: PRNGKey
    ) -> Float[Array, "rows b h w c"]:
        """The images, their masked copies, and those inpainted."""
        masks = self._training_masks(key, images)
        *_, inpainted = self.gan.inpaint(state.gan.average, images * (1 - masks), masks)
        return jnp.stack([images, images * (1 - masks), paste(images, masks, inpainted)])

    def tune(
        self, state: I3adState, squares: Squares, *, seed: int, progress: bool = False
    ) -> Tuned:
        """Return the threshold u: that of `--u`, or the paper's, on `--u-images` random squares.

        The rule's own number of iterations decides, not the loop's: u does not depend on
        `--iterations`.
        """
        rule = self.test.threshold
        if rule.u is not None:
            return {"u": rule.u, "u_reason": "given by --u"}
        count = min(rule.u_images, len(squares.images))
        order = np.random.default_rng(seed).permutation(len(squares.images))

        def choose(x: Array) -> Any:
            return np.asarray(x)[np.sort(order[:count])]

        candidates = U_CANDIDATES[self.test.refine.base]
        # A queue holds an image once for each candidate.
        each = by_queues(
            lambda queue, number: self._l1_errors(state, queue, jnp.int32(number)),
            jax.tree.map(choose, squares),
            size=max(self.throughput.queue_size // len(candidates), 1),
            label="choose u" if progress else None,
        )
        means = each.mean(axis=0, dtype=np.float64)
        errors = dict(zip(candidates, means.tolist(), strict=True))
        u, reason = choose_u(errors, tolerance=rule.u_tolerance)
        return {
            "u": u,
            "u_reason": reason,
            "u_errors": {f"{x:.2f}": error for x, error in errors.items()},
        }

    def parameters(self, tuned: Tuned) -> Float[Array, ""]:
        """The threshold u.

        Raises:
            ValueError: it is not a number from 0 to 2.
        """
        u = tuned["u"]
        if isinstance(u, bool) or not isinstance(u, int | float) or not 0 <= u <= 2:
            raise ValueError(f"u {u!r} must be a number from 0 to 2")
        return jnp.asarray(np.float32(u))

    def inpaint(self, state: I3adState) -> Inpaint:
        """The trained generator as a function of one masked image and its mask."""
        generator = self.gan.rounded(state.gan.average)

        def inpaint(image: Image, mask: Mask) -> Image:
            *_, inpainted = self.gan.inpaint(generator, image[None], mask[None])
            return inpainted[0]

        return inpaint

    def reconstruct(self, state: I3adState, parameters: Float[Array, ""], queue: Queue) -> Images:
        """The images after all iterations of the loop."""
        return self._refined(state, parameters, queue, self.test.refine).image

    @jit(static_argnums=0)
    def reconstruct_once(self, state: I3adState, images: Images) -> Images:
        """The images after the checkerboard pass."""
        return self._checkerboard_pass(state.gan.average, images)

    def segment(self, state: I3adState, squares: Squares) -> Maps:
        """Return the probability that a pixel is anomalous, in [0, 1]."""
        assert self.head is not None
        assert state.segmenter is not None
        logits = self.head.logits(state.segmenter.average, squares.images, squares.centre)
        return jax.nn.sigmoid(logits)

    def trajectories(
        self, state: I3adState, parameters: Float[Array, ""], queue: Queue
    ) -> Trajectory:
        """Every state of the loop."""
        return self.trajectories_and_ends(state, parameters, queue)[0]

    def trajectories_and_ends(
        self, state: I3adState, parameters: Float[Array, ""], queue: Queue
    ) -> tuple[Trajectory, Int[Array, " b"]]:
        """Every state of the loop, and after how many iterations each image stays as it is."""
        return self._driven(trace, trace_queue, state, parameters, queue, self.test.refine)

    def anomaly_score(self, square: Squares) -> AnomalyScore:
        """The SSIM anomaly score of reconstructions of an image, taken of pixel values."""
        score = ssim_anomaly(square.pixels(square.images), self.ssim)
        return jax.tree_util.Partial(_score_pixels, square, score)

    def _checkerboard_pass(self, generator: Any, images: Images) -> Images:
        """The pass that starts the loop (section 2.4), of a batch at once."""
        height, width = images.shape[1:3]
        generator = self.gan.rounded(generator)
        boards = checkerboard_masks(height=height, width=width, patches=self.test.refine.patches)

        def add(board: Int[Array, ""], found: Images) -> Images:
            masks = jnp.broadcast_to(boards[board], (len(images), height, width, 1))
            return found + masks * self.gan.inpaint(generator, images * (1 - masks), masks)[-1]

        return lax.fori_loop(0, NUM_CHECKERBOARDS, add, jnp.zeros_like(images))

    def _refined(
        self, state: I3adState, u: Float[Array, "..."], queue: Queue, settings: LoopSettings
    ) -> State:
        return self._driven(refine, refine_queue, state, u, queue, settings)

    def _driven(
        self,
        fixed: Callable[..., Driven],
        queued: Callable[..., Driven],
        state: I3adState,
        u: Float[Array, "..."],
        queue: Queue,
        settings: LoopSettings,
    ) -> Driven:
        """Run the loop of a queue by the driver of `--loop`: `fixed` of one image, or `queued`.

        `u` is that of all images, or of each.
        """
        squares, count, together = queue
        images, scores = squares.images, jax.vmap(self.anomaly_score)(squares)
        inpaint, each = self.inpaint(state), jnp.broadcast_to(u, squares.images.shape[0])

        def one(image: Image, score: AnomalyScore, u: Float[Array, ""]) -> Driven:
            return fixed(inpaint, image, score=score, u=u, settings=settings)

        def batch(rows: tuple[Images, AnomalyScore, Float[Array, " b"]]) -> Driven:
            return jax.vmap(one)(*rows)

        if self.test.loop == "fixed":
            rows = images, scores, each
            return in_batches(batch, rows, count=count, batch_size=together)
        loops = queue_loops(images, scores=scores, u=each, settings=settings)
        return queued(inpaint, loops, count=count, slots=together)

    @jit(static_argnums=0)
    def _l1_errors(
        self, state: I3adState, squares: Squares, count: Int[Array, ""]
    ) -> Float[Array, "b candidates"]:
        """Mean L1 error, in [0, 1], after the rule's number of iterations with each candidate u.

        Only the first `count` rows are valid.
        """
        loop = replace(self.test.refine, iterations=self.test.threshold.u_iterations)
        candidates = U_CANDIDATES[loop.base]
        each = len(candidates)
        repeated = jax.tree.map(lambda x: jnp.repeat(x, each, axis=0), squares)
        u = jnp.tile(jnp.array(candidates), len(squares.images))
        queue = Queue(repeated, count * each, self.throughput.test_batch_size)
        refined = self._refined(state, u, queue, loop)
        difference = jnp.abs(repeated.pixels(refined.image) - repeated.pixels(repeated.images))
        return (jnp.mean(difference, axis=(1, 2, 3)) / 2).reshape(-1, each)


def _score_pixels(square: Squares, score: AnomalyScore, found: Image) -> Map:
    """Anomaly score of a reconstruction of a square, both in units of the data."""
    return score(square.pixels(found))

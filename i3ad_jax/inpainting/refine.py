# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""Iterative inpainting with an SSIM mask: the paper's test-time loop (section 2.2 to 2.5).

Written for one image and any functions `inpaint` and `score`: it knows no network. The caller
`vmap`s it. `Loop.step` is the loop's one step. Two drivers take it to the end: `refine` here always
takes all steps, one compiled program of static shapes; `queue.py` gives each of many images only
the steps that it needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from i3ad_jax.inpainting.masks import NUM_CHECKERBOARDS, checkerboard_numbers
from i3ad_jax.settings import Settings, setting
from i3ad_jax.shapes import Image, Map, Mask

Inpaint = Callable[[Image, Mask], Image]
# of an image's reconstructions; a pytree, as `ssim_anomaly` gives it
AnomalyScore = Callable[[Image], Map]
START = -NUM_CHECKERBOARDS  # iterations of an image none of whose checkerboard passes is done


@dataclass(frozen=True)
class LoopSettings(Settings):
    """The test-time loop, and the choices that the paper leaves open."""

    iterations: int = setting(30, minimum=0, maximum=1_000_000)
    """Mask updates per image (paper: 30); 0 stops after the checkerboard pass."""
    patches: int = setting(6, minimum=2, maximum=10_000)
    """The checkerboard's number of patches along each side (paper: 6)."""
    base: Literal["previous", "original"] = "previous"
    """Source of the pixels outside the mask: the previous image (the paper's formula) or the
    original one (its text)."""
    shrink: bool = False
    """Let masks only shrink: a pixel once released stays released."""
    stop_tolerance: float = setting(0.0, minimum=0, maximum=1)
    """An image is finished once its mask changes by at most this fraction of its area; 0 gives
    exactly the result of all iterations."""


class State(NamedTuple):
    """An image in some state of the loop.

    Attributes:
        image: the reconstruction.
        mask: region of the last inpainting. All ones after the checkerboard passes, which inpaint
            every pixel.
        score: its anomaly score.
        iterations: mask updates that led to it, negative before the last checkerboard pass. Less
            than the settings' if the mask stopped changing or, in the queue, if the loop has
            entered a period-2 cycle.
    """

    image: Float[Array, "*b h w c"]
    mask: Float[Array, "*b h w 1"]
    score: Float[Array, "*b h w"]
    iterations: Int[Array, "*b"]


class Earlier(NamedTuple):
    """Image and mask of the last state that had an even number of iterations to go."""

    image: Float[Array, "*b h w c"]
    mask: Float[Array, "*b h w 1"]


STATE_VALUES = 3 + 1 + 1
"""Numbers for each pixel of a state in a `Trajectory`: image, mask, score."""


class Trajectory(NamedTuple):
    """Every state of the loop: after the checkerboard passes, then after each iteration.

    There are t = iterations + 1 states.

    Attributes:
        images: the reconstructions.
        masks: the mask each was made with; all ones for the checkerboard passes.
        scores: the SSIM anomaly score of each.
    """

    images: Float[Array, "*b t h w c"]
    masks: Float[Array, "*b t h w 1"]
    scores: Float[Array, "*b t h w"]

    def with_states_last(self) -> "Trajectory":
        """Move the states' axis of a batch `b` after those of the pixels: `b h w t ...`."""
        return jax.tree.map(lambda x: jnp.moveaxis(x, 1, 3), self)


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["original", "score", "u"],
    meta_fields=["settings"],
)
@dataclass(frozen=True)
class Loop:
    """Loop of one image: its step and its end. A pytree, so that each image can have its own.

    Attributes:
        original: the image to examine.
        score: gives the anomaly score of each pixel of a reconstruction of it.
        u: a pixel is masked where its anomaly score is at least this.
        settings: the choices that the paper leaves open.
    """

    original: Float[Array, "*b h w c"]
    score: AnomalyScore
    u: Float[Array, "*b"]
    settings: LoopSettings

    @classmethod
    def of(
        cls,
        image: Image,
        *,
        score: AnomalyScore,
        u: float | Float[Array, ""],
        settings: LoopSettings,
    ) -> "Loop":
        """The loop of an image."""
        return cls(image, score, jnp.asarray(u, jnp.float32), settings)

    def start(self) -> State:
        """The state before the first checkerboard pass."""
        image, mask = jnp.zeros_like(self.original), jnp.ones_like(self.original[..., :1])
        return State(image, mask, jnp.zeros_like(image[..., 0]), jnp.int32(START))

    def step(self, inpaint: Inpaint, state: State) -> State:
        """Return the next state: after another checkerboard pass or one mask update.

        The paper describes them in sections 2.4 and 2.3. A checkerboard pass inpaints a quarter of
        the patches from the original's other patches.
        """
        height, width, _ = self.original.shape
        numbers = checkerboard_numbers(height=height, width=width, patches=self.settings.patches)
        starting = state.iterations < 0
        board = (numbers == state.iterations - START).astype(state.mask.dtype)[..., None]
        mask = jnp.where(starting, board, self.next_mask(state))
        base = self.original if self.settings.base == "original" else state.image
        kept = jnp.where(starting, state.image, base)
        known = jnp.where(starting, self.original, base)
        image = mask * inpaint(known * (1 - mask), mask) + (1 - mask) * kept
        mask = jnp.where(starting, jnp.ones_like(mask), mask)
        return State(image, mask, self.score(image), state.iterations + 1)

    def next_mask(self, state: State) -> Mask:
        """The SSIM mask of a state: 1 where its score is at least u."""
        mask = (state.score >= self.u).astype(state.image.dtype)[..., None]
        return mask * state.mask if self.settings.shrink else mask

    def finished(self, state: State) -> Bool[Array, ""]:
        """Return whether the loop ends with `state`.

        The same mask again would be filled with the same pixels: at tolerance 0, to stop there
        gives exactly what all iterations give. The checkerboard pass does not apply its mask: after
        it the loop continues whatever the mask.
        """
        change = jnp.sum(jnp.abs(self.next_mask(state) - state.mask))
        unchanged = change <= self.settings.stop_tolerance * jnp.sum(state.mask)
        return (unchanged & (state.iterations > 0)) | (state.iterations >= self.settings.iterations)

    def vanished(self, state: State) -> Bool[Array, ""]:
        """Test for an empty next mask whose update keeps every pixel: it needs no inpainting."""
        empty = (
            ~jnp.any(self.next_mask(state) > 0) & (state.iterations >= 0) & ~self.finished(state)
        )
        return empty if self.settings.base == "previous" else jnp.zeros_like(empty)

    def done(self, state: State) -> Bool[Array, ""]:
        """Return whether no inpainting is left to do; `close` gives the last state then."""
        return self.finished(state) | self.vanished(state)

    def close(self, state: State) -> State:
        """The state, after the update with an empty mask if that is all that is left to do."""
        vanished = self.vanished(state)
        return state._replace(
            mask=jnp.where(vanished, 0, state.mask), iterations=state.iterations + vanished
        )

    def detect_cycle(self, earlier: Earlier, state: State) -> tuple[Earlier, Bool[Array, ""]]:
        """Detect a period-2 cycle: return what to compare with next, and if the loop can end here.

        Where image and mask are those of two updates ago, bit for bit, the loop alternates between
        two states from here on, and the even number of iterations that are left ends in this one.
        Masks often do so whose last pixels have scores next to u.
        """
        even = (state.iterations >= 0) & ((self.settings.iterations - state.iterations) % 2 == 0)
        now = Earlier(state.image, state.mask)
        same = jnp.all(earlier.image == now.image) & jnp.all(earlier.mask == now.mask)
        return jax.tree.map(lambda old, new: jnp.where(even, new, old), earlier, now), even & same


def refine(
    inpaint: Inpaint,
    image: Image,
    *,
    score: AnomalyScore,
    u: float | Float[Array, ""],
    settings: LoopSettings,
) -> State:
    """Return the state after all mask updates: the fixed form, which always computes every step.

    Args:
        inpaint: from an image whose holes are 0, and its mask, to an image; only its holes are
            used.
        image: the image to examine.
        score: gives the anomaly score of each pixel of a reconstruction of it; the paper's is
            `ssim_anomaly`.
        u: a pixel is masked where its anomaly score is at least this.
        settings: the choices that the paper leaves open.
    """
    return _all_steps(inpaint, Loop.of(image, score=score, u=u, settings=settings), keep=False)[0]


def trace(
    inpaint: Inpaint,
    image: Image,
    *,
    score: AnomalyScore,
    u: float | Float[Array, ""],
    settings: LoopSettings,
) -> tuple[Trajectory, Int[Array, ""]]:
    """Return all states of the loop that ends as `refine` does, and the iterations to a repeat."""
    loop = Loop.of(image, score=score, u=u, settings=settings)
    last, states = _all_steps(inpaint, loop, keep=True)
    states = jax.tree.map(lambda x: x[NUM_CHECKERBOARDS - 1 :], states)
    return Trajectory(states.image, states.mask, states.score), last.iterations


def _all_steps(inpaint: Inpaint, loop: Loop, *, keep: bool) -> tuple[State, Any]:
    """The state after all steps and, if they are to be kept, those after each step."""
    steps = NUM_CHECKERBOARDS + loop.settings.iterations
    start = loop.start()
    states = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), start) if keep else None

    def body(index: Int[Array, ""], carry: tuple[State, Any]) -> tuple[State, Any]:
        state, states = carry
        finished = loop.finished(state)
        stepped = loop.step(inpaint, state)
        state = jax.tree.map(lambda old, new: jnp.where(finished, old, new), state, stepped)
        if keep:
            states = jax.tree.map(lambda kept, x: kept.at[index].set(x), states, state)
        return state, states

    return lax.fori_loop(0, steps, body, (start, states))

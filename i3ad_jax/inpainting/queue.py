"""The loop of `refine.py` for a queue of images: a finished image leaves, the next one takes its slot.

Most images need few iterations. In a batch they would wait for the slowest; here the cost follows the mean.
"""

from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from i3ad_jax.config import RefineConfig
from i3ad_jax.inpainting.masks import checkerboard_masks
from i3ad_jax.inpainting.refine import (
    Inpaint,
    MaskRule,
    Refined,
    Score,
    Seen,
    Trajectory,
    anomaly_score,
    nothing_seen,
)
from i3ad_jax.shapes import Image, Images, Masks

Tree = TypeVar("Tree")
START = -4  # iterations of an image none of whose four checkerboard passes is done


class _Slots(NamedTuple):
    """What is being worked on.

    Attributes:
        image: position in the queue of each slot's image; from `count` upwards if the slot is empty.
        state: of each slot's image. Its iterations are negative until the checkerboard passes are done.
        seen: of each slot's image, to find out whether its loop goes in a circle.
        waiting: position of the next image that has no slot yet.
        results: states of the images, by position and then by iterations as far as there is room: the last
            place has the latest.
    """

    image: Int[Array, " slots"]
    state: Refined
    seen: Seen
    waiting: Int[Array, ""]
    results: Refined


def refine_queue(
    inpaint: Inpaint,
    images: Images,
    *,
    count: int | Int[Array, ""],
    slots: int,
    u: float | Float[Array, ""] | Float[Array, " b"],
    config: RefineConfig,
) -> Refined:
    """The states that `refine` gives for the first `count` images, but for rounding; zeros for the rest.

    Each turn of the program's one loop is one call of `inpaint` for all slots. A slot is in one of the four
    checkerboard passes of its image or in one of its iterations, whatever the other slots do. The shapes
    depend on `len(images)` and `slots`; another `count` needs no other program.

    Args:
        inpaint, config: as for `refine`.
        u: as for `refine`, of all images or of each.
        images: the queue, in [-1, 1].
        count: how many of them there are; what follows is padding and costs nothing.
        slots: images that are worked on together.
    """
    results = _work_through(inpaint, images, count=count, slots=slots, u=u, config=config, kept=1)
    return jax.tree.map(lambda x: x[:, 0], results)


def trace_queue(
    inpaint: Inpaint,
    images: Images,
    *,
    count: int | Int[Array, ""],
    slots: int,
    u: float | Float[Array, ""] | Float[Array, " b"],
    config: RefineConfig,
) -> tuple[Trajectory, Int[Array, " b"]]:
    """The states that `trace` gives for the first `count` images, but for rounding, at the queue's cost.

    Args:
        inpaint, images, count, slots, u, config: as for `refine_queue`.

    Returns:
        All `config.iterations` + 1 states of each image, and the iterations after which they repeat.
    """
    kept = config.iterations + 1
    states = _work_through(inpaint, images, count=count, slots=slots, u=u, config=config, kept=kept)
    last = jnp.max(states.iterations, axis=1)
    reached = jnp.minimum(jnp.arange(kept), last[:, None])
    image, mask, score, _ = jax.vmap(lambda state, index: jax.tree.map(lambda x: x[index], state))(
        states, reached
    )
    return Trajectory(image, mask, score), last


def _work_through(
    inpaint: Inpaint,
    images: Images,
    *,
    count: int | Int[Array, ""],
    slots: int,
    u: float | Float[Array, ""] | Float[Array, " b"],
    config: RefineConfig,
    kept: int,
) -> Refined:
    """For each image of the queue its states after 0 to `kept` - 1 iterations, the last place for all later.

    Zeros where there was no such state.
    """
    capacity, height, width, _ = images.shape
    rules = MaskRule(jnp.broadcast_to(jnp.asarray(u), capacity), config)
    boards = checkerboard_masks(height=height, width=width, patches=config.patches)
    scores = jax.vmap(lambda image: anomaly_score(image, config))(images)
    blank = Refined(jnp.zeros_like(images[0]), boards[0], jnp.zeros(images.shape[1:3]), jnp.int32(START))
    fresh = blank, nothing_seen(blank)

    def keep(results: Refined, state: Refined, image: Int[Array, " slots"], which: Array) -> Refined:
        position = jnp.where(which, image, capacity)  # what lies beyond the queue is dropped
        place = jnp.clip(state.iterations, 0, kept - 1)
        return jax.tree.map(
            lambda everyone, x: everyone.at[position, place].set(x, mode="drop"), results, state
        )

    def turn(work: _Slots) -> _Slots:
        originals, score, rule = jax.tree.map(
            lambda x: x.at[work.image].get(mode="clip"), (images, scores, rules)
        )
        state = jax.vmap(partial(_advance, inpaint, boards))(originals, score, rule, work.state)
        seen, circling = jax.vmap(MaskRule.look_back)(rule, work.seen, state)
        present = (work.image < count) & (state.iterations >= 0)
        if kept == 1:
            results, finished = work.results, (circling | jax.vmap(MaskRule.done)(rule, state)) & present
        else:  # an image that goes to and fro has to show it
            results = keep(work.results, state, work.image, present)
            finished = jax.vmap(MaskRule.done)(rule, state) & present
        results = keep(results, jax.vmap(MaskRule.close)(rule, state), work.image, finished)
        entering = work.waiting + jnp.cumsum(finished) - 1
        state, seen = jax.tree.map(
            lambda new, old: jnp.where(jnp.expand_dims(finished, range(1, old.ndim)), new, old),
            fresh,
            (state, seen),
        )
        return _Slots(
            image=jnp.where(finished, entering, work.image),
            state=state,
            seen=seen,
            waiting=work.waiting + jnp.sum(finished),
            results=results,
        )

    state, seen = _repeat(fresh, slots)
    first = _Slots(
        image=jnp.arange(slots),
        state=state,
        seen=seen,
        waiting=jnp.int32(slots),
        results=jax.tree.map(lambda x: jnp.zeros((capacity, kept, *x.shape), x.dtype), blank),
    )
    return lax.while_loop(lambda work: jnp.any(work.image < count), turn, first).results


def _advance(
    inpaint: Inpaint, boards: Masks, original: Image, score: Score, rule: MaskRule, state: Refined
) -> Refined:
    """One pass of an image: the next checkerboard's, or the next iteration."""
    starting = state.iterations < 0
    mask = jnp.where(starting, boards[state.iterations - START], rule.next_mask(state))
    kept = jnp.where(starting, state.image, rule.base(original, state))
    known = jnp.where(starting, original, kept)
    image = mask * inpaint(known * (1 - mask), mask) + (1 - mask) * kept
    mask = jnp.where(starting, jnp.ones_like(mask), mask)
    return Refined(image, mask, score(image), state.iterations + 1)


def _repeat(tree: Tree, times: int) -> Tree:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (times, *x.shape)), tree)

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
from i3ad_jax.masks import checkerboard_masks
from i3ad_jax.refine import Inpaint, MaskRule, Refined, Score, Seen, anomaly_score, nothing_seen
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
        results: states of the finished images, by position.
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
    u: float | Float[Array, ""],
    config: RefineConfig,
) -> Refined:
    """The states that `refine` gives for the first `count` images, but for rounding; zeros for the rest.

    Each turn of the program's one loop is one call of `inpaint` for all slots. A slot is in one of the four
    checkerboard passes of its image or in one of its iterations, whatever the other slots do. The shapes
    depend on `len(images)` and `slots`; another `count` needs no other program.

    Args:
        inpaint, u, config: as for `refine`.
        images: the queue, in [-1, 1].
        count: how many of them there are; what follows is padding and costs nothing.
        slots: images that are worked on together.
    """
    rule = MaskRule(u, config)
    capacity, height, width, _ = images.shape
    boards = checkerboard_masks(height=height, width=width, patches=config.patches)
    scores = jax.vmap(lambda image: anomaly_score(image, config))(images)
    blank = Refined(jnp.zeros_like(images[0]), boards[0], jnp.zeros(images.shape[1:3]), jnp.int32(START))
    fresh = blank, nothing_seen(blank)

    def turn(work: _Slots) -> _Slots:
        originals, score = jax.tree.map(lambda x: x.at[work.image].get(mode="clip"), (images, scores))
        state = jax.vmap(partial(_advance, inpaint, rule, boards))(originals, score, work.state)
        seen, circling = jax.vmap(rule.look_back)(work.seen, state)
        finished = (circling | jax.vmap(rule.done)(state)) & (work.image < count)
        # Positions beyond the queue are dropped.
        leaving = jnp.where(finished, work.image, capacity)
        closed = jax.vmap(rule.close)(state)
        results = jax.tree.map(
            lambda everyone, x: everyone.at[leaving].set(x, mode="drop"), work.results, closed
        )
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
        results=_repeat(jax.tree.map(jnp.zeros_like, blank), capacity),
    )
    return lax.while_loop(lambda work: jnp.any(work.image < count), turn, first).results


def _advance(
    inpaint: Inpaint, rule: MaskRule, boards: Masks, original: Image, score: Score, state: Refined
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

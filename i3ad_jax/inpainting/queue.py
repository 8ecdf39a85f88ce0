# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""The loop of `refine.py` for a queue of images: as one leaves, the next takes its slot.

Most images need few iterations. In a batch they would wait for the slowest; here the cost follows
the mean.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from i3ad_jax.inpainting.refine import (
    AnomalyScore,
    Earlier,
    Inpaint,
    Loop,
    LoopSettings,
    State,
    Trajectory,
)
from i3ad_jax.shapes import Image, Images, Length


class _Slots(NamedTuple):
    """Images and states in the slots of the loop.

    Attributes:
        image: position in the queue of each slot's image; from `count` upwards if the slot is
            empty.
        state: of each slot's image.
        earlier: of each slot's image, to detect a cycle of its loop.
        waiting: position of the next image that has no slot yet.
        results: states of the images, by position and then by iterations as far as there is room:
            the last place has the latest.
    """

    image: Int[Array, " slots"]
    state: State
    earlier: Earlier
    waiting: Int[Array, ""]
    results: State


def queue_loops(
    images: Images,
    *,
    scores: AnomalyScore,
    u: float | Float[Array, ""] | Float[Array, " b"],
    settings: LoopSettings,
) -> Loop:
    """Return the loop of each image, for `refine_queue` and `trace_queue`: a pytree of rows.

    Args:
        images: the queue.
        scores: the anomaly scores of all images, a pytree with a row for each.
        u: as for `refine`, of all images or of each.
        settings: as for `refine`.
    """

    def one(image: Image, score: AnomalyScore, u: Float[Array, ""]) -> Loop:
        return Loop.of(image, score=score, u=u, settings=settings)

    each = jnp.broadcast_to(jnp.asarray(u, jnp.float32), images.shape[0])
    return jax.vmap(one)(images, scores, each)


def refine_queue(
    inpaint: Inpaint, loops: Loop, *, count: int | Int[Array, ""], slots: Length
) -> State:
    """Return the states that `refine` gives for the first `count` images, up to rounding.

    The states of the rest are zeros. Each turn of the program's one loop is one call of `inpaint`
    for all slots. A slot is in one of the four checkerboard passes of its image or in one of its
    iterations, whatever the other slots do. The shapes depend on the number of loops and `slots`;
    another `count` needs no other program.

    Args:
        inpaint: as for `refine`.
        loops: of the queue's images, as `queue_loops` gives them.
        count: number of valid rows; the rest is padding and costs nothing.
        slots: images that are worked on together.
    """
    results = _needed_steps(inpaint, loops, count=count, slots=slots, kept=1)
    return jax.tree.map(lambda x: x[:, 0], results)


def trace_queue(
    inpaint: Inpaint, loops: Loop, *, count: int | Int[Array, ""], slots: Length
) -> tuple[Trajectory, Int[Array, " b"]]:
    """Return the results of `trace` for the first `count` images, up to rounding, by the queue.

    Args:
        inpaint: as for `refine`.
        loops: of the queue's images, as `queue_loops` gives them.
        count: number of valid rows, as for `refine_queue`.
        slots: images that are worked on together.
    """
    kept = loops.settings.iterations + 1
    states = _needed_steps(inpaint, loops, count=count, slots=slots, kept=kept)
    return jax.vmap(_trajectory)(loops, states)


def _needed_steps(
    inpaint: Inpaint, loops: Loop, *, count: int | Int[Array, ""], slots: Length, kept: int
) -> State:
    """Return each loop's states after 0 to `kept` - 1 iterations; the last slot is for all later.

    Zeros where no step led to such a state.
    """
    capacity = loops.original.shape[0]
    start = jax.vmap(Loop.start)(jax.tree.map(lambda x: x[:1], loops))
    start = jax.tree.map(lambda x: jnp.broadcast_to(x, (slots, *x.shape[1:])), start)
    # NaN equals nothing: before any state there is no cycle.
    fresh = start, Earlier(jnp.full_like(start.image, jnp.nan), start.mask)

    def store(results: State, state: State, position: Int[Array, " slots"]) -> State:
        place = jnp.clip(state.iterations, 0, kept - 1)
        return jax.tree.map(
            lambda kept, x: kept.at[position, place].set(x, mode="drop"), results, state
        )

    def step(loop: Loop, state: State) -> State:
        return loop.step(inpaint, state)

    def turn(work: _Slots) -> _Slots:
        loop = jax.tree.map(lambda x: x.at[work.image].get(mode="clip"), loops)
        state = jax.vmap(step)(loop, work.state)
        earlier, cycles = jax.vmap(Loop.detect_cycle)(loop, work.earlier, state)
        present = (work.image < count) & (state.iterations >= 0)
        finished = (cycles | jax.vmap(Loop.done)(loop, state)) & present
        results = work.results
        if kept > 1:
            results = store(results, state, jnp.where(present, work.image, capacity))
        closed = jax.vmap(Loop.close)(loop, state)
        results = store(results, closed, jnp.where(finished, work.image, capacity))
        entering = work.waiting + jnp.cumsum(finished) - 1
        state, earlier = jax.tree.map(
            lambda new, old: jnp.where(jnp.expand_dims(finished, range(1, old.ndim)), new, old),
            fresh,
            (state, earlier),
        )
        return _Slots(
            image=jnp.where(finished, entering, work.image),
            state=state,
            earlier=earlier,
            waiting=work.waiting + jnp.sum(finished),
            results=results,
        )

    first = _Slots(
        image=jnp.arange(slots),
        state=fresh[0],
        earlier=fresh[1],
        waiting=jnp.int32(slots),
        results=jax.tree.map(lambda x: jnp.zeros((capacity, kept, *x.shape[1:]), x.dtype), start),
    )
    return lax.while_loop(lambda work: jnp.any(work.image < count), turn, first).results


def _trajectory(loop: Loop, states: State) -> tuple[Trajectory, Int[Array, ""]]:
    """All states of a loop, of which the last computed, or a cycle's last two, repeat to the end.

    With the iterations after which nothing changes.
    """
    total, last = loop.settings.iterations, jnp.max(states.iterations)
    cycles = ~loop.finished(jax.tree.map(lambda x: x[last], states))
    later = jnp.maximum(jnp.arange(total + 1) - last, 0)
    index = jnp.minimum(jnp.arange(total + 1), last) - jnp.where(cycles, later % 2, 0)
    image, mask, score, _ = jax.tree.map(lambda x: x[index], states)
    return Trajectory(image, mask, score), jnp.where(cycles, total, last)

"""Iterative inpainting with an SSIM mask: the paper's test-time loop (section 2.2 to 2.5).

Written for one image and any `inpaint` function, so that it knows no network; the caller `vmap`s it. The
whole loop is one compiled program with static shapes. `refine_queue.py` runs the same loop for many images
of which each takes only the iterations that it needs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from i3ad_jax.config import RefineConfig
from i3ad_jax.inpainting.masks import checkerboard_masks
from i3ad_jax.scoring.multi_scale import multi_scale
from i3ad_jax.scoring.ssim import ssim_with
from i3ad_jax.shapes import Image, Map, Mask

Inpaint = Callable[[Image, Mask], Image]
Score = Callable[[Image], Map]


class Refined(NamedTuple):
    """An image in some state of the loop.

    Attributes:
        image: the reconstruction, in [-1, 1].
        mask: where it was last inpainted. All ones after the checkerboard pass, which inpaints every pixel.
        score: its SSIM anomaly score.
        iterations: mask updates that led to it. Less than `config.iterations` if the mask stopped changing
            or, with the early exit, if the loop goes in a circle.
    """

    image: Image
    mask: Mask
    score: Map
    iterations: Int[Array, ""]


class Seen(NamedTuple):
    """The last state that the loop reached with an even number of iterations to go: its image and mask."""

    image: Image
    mask: Mask


class Trajectory(NamedTuple):
    """Every state of the loop: after the checkerboard pass, then after each iteration (t = iterations + 1).

    Attributes:
        images: the reconstructions.
        masks: the mask each was made with; all ones for the checkerboard pass.
        scores: the SSIM anomaly score of each.
    """

    images: Float[Array, "*t h w c"]
    masks: Float[Array, "*t h w 1"]
    scores: Float[Array, "*t h w"]


def checkerboard_pass(inpaint: Inpaint, image: Image, *, patches: int) -> Image:
    """The image with every pixel inpainted from the other three checkerboards' pixels (section 2.4).

    The four masks go through `inpaint` as one batch.
    """
    height, width, _ = image.shape
    masks = checkerboard_masks(height=height, width=width, patches=patches)
    inpainted = jax.vmap(lambda mask: inpaint(image * (1 - mask), mask))(masks)
    return jnp.sum(masks * inpainted, axis=0)


def anomaly_score(image: Image, config: RefineConfig) -> Score:
    """A function that gives the SSIM anomaly score of each pixel of a reconstruction of `image`: a_i(x).

    The function is a pytree: it can be `vmap`ped over, indexed and carried by a loop.

    Deviation: the paper's section 2.3 writes a_i = SSIM but masks where a_i >= u; only 1 - SSIM (or half of
    it) makes that mask what differs.
    """
    ssim = ssim_with(image, window=config.ssim_window, constants=config.ssim_constants)
    scale = 0.5 if config.ssim_score == "half" else 1.0
    return jax.tree_util.Partial(lambda ssim, reconstruction: scale * (1 - ssim(reconstruction)), ssim)


def ms_ssim_score(image: Image, reconstruction: Image, config: RefineConfig) -> Map:
    """The SSIM anomaly score at several scales. Not in the paper."""
    return multi_scale(lambda a, b: anomaly_score(a, config)(b), image, reconstruction)


@partial(jax.tree_util.register_dataclass, data_fields=["u"], meta_fields=["config"])
@dataclass(frozen=True)
class MaskRule:
    """Which pixels to inpaint next, and when to stop. A pytree, so that each image can have its own.

    Attributes:
        u: a pixel is masked where its anomaly score is at least this.
        config: the choices that the paper leaves open.
    """

    u: float | Float[Array, ""]
    config: RefineConfig

    def next_mask(self, state: Refined) -> Mask:
        """The SSIM mask of a state: 1 where it looks wrong."""
        mask = (state.score >= self.u).astype(state.image.dtype)[..., None]
        return mask * state.mask if self.config.shrink else mask

    def finished(self, state: Refined) -> Bool[Array, ""]:
        """Whether the loop ends with `state`.

        The same mask again would be filled with the same pixels: at tolerance 0, to stop there gives exactly
        what all iterations give. The checkerboard pass is no application of its mask: after it the loop goes
        on whatever the mask.
        """
        change = jnp.sum(jnp.abs(self.next_mask(state) - state.mask))
        unchanged = change <= self.config.stop_tolerance * jnp.sum(state.mask)
        return (unchanged & (state.iterations > 0)) | (state.iterations >= self.config.iterations)

    def vanished(self, state: Refined) -> Bool[Array, ""]:
        """Whether the next mask is empty and its update keeps every pixel, so that it needs no inpainting."""
        empty = ~jnp.any(self.next_mask(state) > 0) & (state.iterations >= 0) & ~self.finished(state)
        return empty if self.config.base == "previous" else jnp.zeros_like(empty)

    def done(self, state: Refined) -> Bool[Array, ""]:
        """Whether no inpainting is left to do; `close` gives the last state then."""
        return self.finished(state) | self.vanished(state)

    def look_back(self, seen: Seen, state: Refined) -> tuple[Seen, Bool[Array, ""]]:
        """What was seen after `state`, and whether the loop can end with it because it is as it was before.

        Where image and mask are those of two updates ago, bit for bit, the loop goes to and fro between two
        states from here on, and the even number of iterations that are left ends in this one. Masks often do
        so whose last pixels have scores next to u.
        """
        even = (state.iterations >= 0) & ((self.config.iterations - state.iterations) % 2 == 0)
        now = Seen(state.image, state.mask)
        same = jnp.all(seen.image == now.image) & jnp.all(seen.mask == now.mask)
        return jax.tree.map(lambda old, new: jnp.where(even, new, old), seen, now), even & same

    def close(self, state: Refined) -> Refined:
        """The state, after the update with an empty mask if that is all that is left to do."""
        vanished = self.vanished(state)
        return state._replace(mask=jnp.where(vanished, 0, state.mask), iterations=state.iterations + vanished)

    def base(self, original: Image, state: Refined) -> Image:
        """The image that pixels outside the mask are taken from."""
        return original if self.config.base == "original" else state.image


def refine(
    inpaint: Inpaint,
    image: Image,
    *,
    u: float | Float[Array, ""],
    config: RefineConfig,
    early_exit: bool = False,
) -> Refined:
    """The state of the loop after `config.iterations` mask updates.

    Args:
        inpaint: from an image whose holes are 0, and its mask, to an image; only its holes are used.
        image: the image to examine, in [-1, 1].
        u: a pixel is masked where its anomaly score is at least this.
        config: the choices that the paper leaves open.
        early_exit: stop computing once it is known how the loop ends, with the same result. Under `vmap` the
            batch waits for its slowest image.
    """
    rule = MaskRule(u, config)
    first, update = _loop(inpaint, image, rule)
    if early_exit:
        return _refine_until_done(rule, update, first)
    return lax.fori_loop(0, config.iterations, lambda _, state: _unless_finished(rule, update, state), first)


def trace(inpaint: Inpaint, image: Image, *, u: float | Float[Array, ""], config: RefineConfig) -> Trajectory:
    """All states of the loop of which `refine` gives the last, for study and pictures."""
    rule = MaskRule(u, config)
    first, update = _loop(inpaint, image, rule)

    def record(state: Refined, _: None) -> tuple[Refined, Trajectory]:
        state = _unless_finished(rule, update, state)
        return state, Trajectory(state.image, state.mask, state.score)

    _, later = lax.scan(record, first, length=config.iterations)
    start = Trajectory(first.image, first.mask, first.score)
    return jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), start, later)


def _loop(inpaint: Inpaint, image: Image, rule: MaskRule) -> tuple[Refined, Callable[[Refined], Refined]]:
    """The state after the checkerboard pass, and the update that makes a state the next one."""
    score = anomaly_score(image, rule.config)
    start = checkerboard_pass(inpaint, image, patches=rule.config.patches)
    first = Refined(start, jnp.ones_like(image[..., :1]), score(start), jnp.int32(0))

    def update(state: Refined) -> Refined:
        mask, base = rule.next_mask(state), rule.base(image, state)
        inpainted = mask * inpaint(base * (1 - mask), mask) + (1 - mask) * base
        return Refined(inpainted, mask, score(inpainted), state.iterations + 1)

    return first, update


def nothing_seen(state: Refined) -> Seen:
    """What was seen before any state: nothing equals it. `state` gives the shapes."""
    return Seen(jnp.full_like(state.image, jnp.nan), state.mask)


def _refine_until_done(rule: MaskRule, update: Callable[[Refined], Refined], first: Refined) -> Refined:
    def step(walk: tuple[Refined, Seen, Bool[Array, ""]]) -> tuple[Refined, Seen, Bool[Array, ""]]:
        state = update(walk[0])
        seen, circling = rule.look_back(walk[1], state)
        return state, seen, circling | rule.done(state)

    seen, _ = rule.look_back(nothing_seen(first), first)
    walk = lax.while_loop(lambda walk: ~walk[2], step, (first, seen, rule.done(first)))
    return rule.close(walk[0])


def _unless_finished(rule: MaskRule, update: Callable[[Refined], Refined], state: Refined) -> Refined:
    finished = rule.finished(state)
    return jax.tree.map(lambda old, new: jnp.where(finished, old, new), state, update(state))

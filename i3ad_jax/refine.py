"""Iterative inpainting with an SSIM mask: the paper's test-time loop (section 2.2 to 2.5).

Written for one image and any `inpaint` function, so that it knows no network; the caller `vmap`s it. The
whole loop is one compiled program with static shapes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from i3ad_jax.config import RefineConfig
from i3ad_jax.masks import checkerboard_masks
from i3ad_jax.shapes import Image, Map, Mask
from i3ad_jax.ssim import ssim_with

Inpaint = Callable[[Image, Mask], Image]


class Refined(NamedTuple):
    """An image as the loop left it.

    Attributes:
        image: the reconstruction, in [-1, 1].
        mask: the last mask applied: where the reconstruction was last inpainted. All ones if there
            was no iteration, since the checkerboard pass inpaints every pixel.
        finished: whether the mask had stopped changing.
    """

    image: Image
    mask: Mask
    finished: Bool[Array, ""]


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


def anomaly_score(image: Image, config: RefineConfig) -> Callable[[Image], Map]:
    """A function that gives the SSIM anomaly score of each pixel of a reconstruction of `image`: a_i(x).

    Deviation: the paper's section 2.3 writes a_i = SSIM but masks where a_i >= u; only 1 - SSIM (or half of
    it) makes that mask what differs.
    """
    ssim = ssim_with(image, window=config.ssim_window, constants=config.ssim_constants)
    scale = 0.5 if config.ssim_score == "half" else 1.0
    return lambda reconstruction: scale * (1 - ssim(reconstruction))


def refine(inpaint: Inpaint, image: Image, *, u: float | Float[Array, ""], config: RefineConfig) -> Refined:
    """The state of the loop after `config.iterations` mask updates.

    Args:
        inpaint: from an image whose holes are 0, and its mask, to an image; only its holes are used.
        image: the image to examine, in [-1, 1].
        u: a pixel is masked where its anomaly score is at least this.
        config: the choices that the paper leaves open.
    """
    first, update = _loop(inpaint, image, u=u, config=config)
    return lax.fori_loop(0, config.iterations, update, first)


def trace(inpaint: Inpaint, image: Image, *, u: float | Float[Array, ""], config: RefineConfig) -> Trajectory:
    """All states of the loop of which `refine` gives the last, for study and pictures."""
    first, update = _loop(inpaint, image, u=u, config=config)
    score = anomaly_score(image, config)

    def record(state: Refined, iteration: Int[Array, ""]) -> tuple[Refined, Trajectory]:
        state = update(iteration, state)
        return state, Trajectory(state.image, state.mask, score(state.image))

    _, later = lax.scan(record, first, jnp.arange(config.iterations))
    start = Trajectory(first.image, first.mask, score(first.image))
    return jax.tree.map(lambda one, rest: jnp.concatenate([one[None], rest]), start, later)


def _loop(
    inpaint: Inpaint, image: Image, *, u: float | Float[Array, ""], config: RefineConfig
) -> tuple[Refined, Callable[[int | Int[Array, ""], Refined], Refined]]:
    """The state after the checkerboard pass, and the update of iteration i = 0, 1, ..."""
    score = anomaly_score(image, config)
    start = checkerboard_pass(inpaint, image, patches=config.patches)
    first = Refined(start, jnp.ones_like(image[..., :1]), jnp.array(False))

    def update(iteration: int | Int[Array, ""], state: Refined) -> Refined:
        mask = (score(state.image) >= u).astype(image.dtype)[..., None]
        if config.shrink:
            mask = mask * state.mask
        # The same mask again would be filled with the same pixels: stopping at tolerance 0 changes nothing.
        # The checkerboard pass is no application of its mask: after it the loop goes on whatever the mask.
        change = jnp.sum(jnp.abs(mask - state.mask))
        unchanged = change <= config.stop_tolerance * jnp.sum(state.mask)
        finished = unchanged & (iteration > 0)
        base = image if config.base == "original" else state.image
        inpainted = mask * inpaint(base * (1 - mask), mask) + (1 - mask) * base
        return Refined(
            image=jnp.where(finished, state.image, inpainted),
            mask=jnp.where(finished, state.mask, mask),
            finished=finished,
        )

    return first, update

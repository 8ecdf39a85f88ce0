"""I3AD: an inpainting GAN trained on normal images, and the loop that inpaints what looks wrong."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from i3ad_jax.config import Config
from i3ad_jax.inpainting.choose_u import U_CANDIDATES, choose_u
from i3ad_jax.inpainting.losses import discount_weights
from i3ad_jax.inpainting.masks import brush_mask
from i3ad_jax.inpainting.queue import refine_queue
from i3ad_jax.inpainting.refine import Inpaint, Refined, Trajectory, ms_ssim_score, trace
from i3ad_jax.methods.inpainting_gan import GanState, InpaintingGan, paste
from i3ad_jax.methods.method import Calibration, Metrics
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import copied_to, devices_for, spread_over_devices
from i3ad_jax.scoring.maps import l2_map
from i3ad_jax.shapes import Image, Images, Maps, Mask, Masks, PRNGKey


class I3AD:
    """The paper's method; see `Method` for what each function promises."""

    start = "checkerboard pass"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.gan = InpaintingGan(config)
        self.traced = range(config.refine.iterations + 1)

    def init(self, key: PRNGKey) -> GanState:
        return self.gan.init(key)

    def step(self, state: GanState, images: Images, key: PRNGKey) -> tuple[GanState, Metrics]:
        masks = brush_masks(key, images)
        weights = discount_weights(masks, discount=self.config.training.discount)
        return self.gan.step(state, images, shown=images * (1 - masks), masks=masks, weights=weights)

    def fit(self, images: Images) -> None:
        return None

    @jit(static_argnums=0)
    def sample(self, state: GanState, images: Images, key: PRNGKey) -> Float[Array, "rows b h w c"]:
        masks = brush_masks(key, images)
        _, fine = self.gan.inpaint(state.generator, images * (1 - masks), masks)
        return jnp.stack([images, images * (1 - masks), paste(images, masks, fine)])

    def calibrate(self, state: GanState, images: Images) -> Calibration:
        """The threshold u: what `--u` says, or the paper's rule on at most `--u-images` images."""
        loop = self.config.refine
        if loop.u is not None:
            return {"u": loop.u, "u_reason": "given by --u"}
        chosen, candidates = images[: loop.u_images], U_CANDIDATES[loop.base]
        # A queue holds an image once for each candidate.
        size, parts = max(loop.queue_size // len(candidates), 1), []
        with tqdm(total=len(chosen), desc="choose u", unit="image", leave=False) as progress:
            for first in range(0, len(chosen), size):
                queue = chosen[first : first + size]
                count = len(queue)
                padded = jnp.concatenate([queue, jnp.repeat(queue[-1:], size - count, axis=0)])
                parts.append(np.asarray(self._l1_errors(state, padded, jnp.int32(count)))[:count])
                progress.update(count)
        means = np.concatenate(parts).mean(axis=0, dtype=np.float64)
        errors = dict(zip(candidates, means.tolist(), strict=True))
        u, reason = choose_u(errors, tolerance=loop.u_tolerance)
        return {"u": u, "u_reason": reason, "u_errors": {f"{x:.2f}": error for x, error in errors.items()}}

    def anomaly_maps(
        self, state: GanState, calibration: Calibration, images: Images, count: int
    ) -> dict[str, Maps]:
        devices = devices_for(len(images), together=self.config.refine.test_batch_size)
        u = jnp.float32(calibration["u"])
        return self._anomaly_maps(devices, *copied_to(devices, (state, images, jnp.int32(count), u)))

    def trace(self, state: GanState, calibration: Calibration, images: Images) -> Trajectory:
        return self._trace(state, images, jnp.float32(calibration["u"]))

    def inpaint(self, state: GanState) -> Inpaint:
        """The trained generator as a function of one masked image and its mask."""

        def inpaint(image: Image, mask: Mask) -> Image:
            _, fine = self.gan.inpaint(state.generator, image[None], mask[None])
            return fine[0]

        return inpaint

    @jit(static_argnums=(0, 1))
    def _anomaly_maps(
        self, devices: int, state: GanState, images: Images, count: Int[Array, ""], u: Float[Array, ""]
    ) -> dict[str, Maps]:
        loop = self.config.refine

        def queue(images: Images, count: Int[Array, ""]) -> Refined:
            slots = loop.test_batch_size // devices
            return refine_queue(self.inpaint(state), images, count=count, slots=slots, u=u, config=loop)

        refined = spread_over_devices(queue, images, count=count, devices=devices)
        return {
            "l2": jax.vmap(l2_map)(images, refined.image),
            "ms_ssim": jax.vmap(partial(ms_ssim_score, config=loop))(images, refined.image),
            "ssim": refined.score,
        }

    @jit(static_argnums=0)
    def _trace(self, state: GanState, images: Images, u: Float[Array, ""]) -> Trajectory:
        inpaint = self.inpaint(state)
        return jax.vmap(lambda image: trace(inpaint, image, u=u, config=self.config.refine))(images)

    @jit(static_argnums=0)
    def _l1_errors(
        self, state: GanState, images: Images, count: Int[Array, ""]
    ) -> Float[Array, "b candidates"]:
        """Mean L1 error, in [0, 1], after the rule's number of iterations with each candidate u.

        Only the first `count` rows mean something.
        """
        loop = self.config.refine
        loop = replace(loop, iterations=min(loop.u_iterations, loop.iterations))
        candidates = U_CANDIDATES[loop.base]
        each = len(candidates)
        repeated, u = jnp.repeat(images, each, axis=0), jnp.tile(jnp.array(candidates), len(images))
        refined = refine_queue(
            self.inpaint(state), repeated, count=count * each, slots=loop.test_batch_size, u=u, config=loop
        )
        return (jnp.mean(jnp.abs(refined.image - repeated), axis=(1, 2, 3)) / 2).reshape(-1, each)


def brush_masks(key: PRNGKey, images: Images) -> Masks:
    """A training mask for each image."""
    batch, height, width, _ = images.shape
    keys = jax.random.split(key, batch)
    return jax.vmap(lambda key: brush_mask(key, height=height, width=width))(keys)

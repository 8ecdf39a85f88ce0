# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Training losses of the inpainting GAN (paper, section 2.2)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from i3ad_jax.inpainting.masks import distance_to_known
from i3ad_jax.shapes import Images, Masks


def discriminator_hinge_loss(
    real_logits: Float[Array, "b ..."], fake_logits: Float[Array, "b ..."]
) -> Float[Array, ""]:
    """Mean over all patches of ReLU(1 - real) + ReLU(1 + fake): L_D of the paper."""
    return jnp.mean(jax.nn.relu(1 - real_logits)) + jnp.mean(jax.nn.relu(1 + fake_logits))


def generator_hinge_loss(fake_logits: Float[Array, "b ..."]) -> Float[Array, ""]:
    """Minus the mean logit of the inpainted images: L_G of the paper."""
    return -jnp.mean(fake_logits)


def discount_weights(masks: Masks, *, discount: float) -> Masks:
    """Weight each pixel of the reconstruction loss, in (0, 1]: discount ** distance to known ones.

    Far from known pixels many values are plausible, so errors weigh less (Yu et al. 2018, section
    3.2). Known pixels have weight 1.
    """
    return discount ** jax.vmap(distance_to_known)(masks)[..., None]


def discounted_l1_loss(images: Images, reconstructions: Images, weights: Masks) -> Float[Array, ""]:
    """Mean over batch, pixels and channels of weight * |image - reconstruction|."""
    return jnp.mean(weights * jnp.abs(images - reconstructions))

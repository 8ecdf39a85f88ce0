"""The loss that a segmentation is trained with."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from i3ad_jax.shapes import Maps, Masks

FOCUS = 2.0  # gamma of the focal loss: pixels that are right already weigh (1 - p)**gamma
FOCAL_WEIGHT, DICE_WEIGHT = 4.0, 0.3


def segmentation_loss(logits: Maps, masks: Masks) -> Float[Array, ""]:
    """Return a weighted sum of the focal loss over all pixels and the Dice loss of each image.

    Sources: Lin et al. 2017 (focal loss), Milletari et al. 2016 (Dice loss).

    Few pixels are anomalous: the focal loss keeps the many easy ones from deciding, and the Dice
    loss does not count normal pixels that are right. It has sums for Milletari et al.'s sums of
    squares, and 1 is added above and below, so that it is 0 for an empty mask found empty.

    Args:
        logits: of the probability that a pixel is anomalous.
        masks: 1 on anomalous pixels.
    """
    targets = masks[..., 0]
    for_truth = jnp.where(targets > 0, logits, -logits)  # logits of the right answer
    focal = jnp.mean(-(jax.nn.sigmoid(-for_truth) ** FOCUS) * jax.nn.log_sigmoid(for_truth))
    probabilities = jax.nn.sigmoid(logits)
    overlap = jnp.sum(probabilities * targets, axis=(1, 2))
    total = jnp.sum(probabilities + targets, axis=(1, 2))
    dice = jnp.mean(1 - (2 * overlap + 1) / (total + 1))
    return FOCAL_WEIGHT * focal + DICE_WEIGHT * dice

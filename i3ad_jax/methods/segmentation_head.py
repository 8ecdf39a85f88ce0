# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Network that learns from synthetic defects which pixels are anomalous.

The defects are pasted into normal images. The paper's section 5 thinks of a discriminator's score
as mask; Zavrtanik et al. 2021 (DRAEM) train a U-Net on images and their reconstructions. A residual
counts every grain that a generator cannot predict: this network learns what normal images look like
anyway. It learns from squares of the images at several sizes and takes whole images, so it sees
details that a generator of small images does not. Not in the paper.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from i3ad_jax.methods.method import Metrics, initial, updated_average
from i3ad_jax.nn.segmenter import Segmenter
from i3ad_jax.segmentation.loss import segmentation_loss
from i3ad_jax.segmentation.planting import SMALLEST_SIDE
from i3ad_jax.settings import Settings, setting
from i3ad_jax.shapes import Images, Maps, Masks, PRNGKey


@dataclass(frozen=True)
class SegmenterSettings(Settings):
    """The network that segments synthetic defects."""

    segmenter_width: int = setting(0, minimum=0, maximum=1024)
    """Channels of its first layer, an even number; 0 leaves it out, as in the paper."""
    segmenter_depth: int = setting(4, minimum=1, maximum=16)
    """Number of times that it halves height and width."""
    segmenter_side: int = setting(64, minimum=SMALLEST_SIDE, maximum=10_000)
    """Side in pixels of the squares that it learns from, a multiple of 2 to the power of its depth,
    at least 16: on smaller ones many synthetic defects cannot be seen. It takes images whose
    shorter side has at least as many."""
    segmenter_levels: int = setting(3, minimum=1, maximum=10)
    """At how many sizes it sees an image, at most: the working size, half of it, and so on. Its map
    is the mean of theirs."""
    segmenter_batch_size: int = setting(8, minimum=2, maximum=65_536)
    """Images with synthetic defects per training step; a defect may be cut from another of them."""
    segmenter_learning_rate: float = setting(2e-3, above=0, maximum=100)
    """Adam's step size for it."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SegmenterState:
    """Weights and Adam moments; `average`, a moving average of the weights, is what is used."""

    weights: Any
    average: Any
    optimizer: optax.OptState


@dataclass(frozen=True)
class SegmentationHead:
    """The network and its training.

    Attributes:
        settings: of both.
        average: decay of the moving average of its weights.
        dtype: number type in which it computes.
    """

    settings: SegmenterSettings
    average: float
    dtype: str

    @property
    def network(self) -> Segmenter:
        """The U-Net."""
        return Segmenter(
            self.settings.segmenter_width, self.settings.segmenter_depth, jnp.dtype(self.dtype)
        )

    @property
    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.settings.segmenter_learning_rate)

    def init(self, key: PRNGKey) -> SegmenterState:
        """Fresh weights and optimiser."""
        side = self.settings.segmenter_side
        weights = initial(key, self.network, jnp.zeros((1, side, side, 6)))["params"]
        return SegmenterState(weights, jax.tree.map(jnp.copy, weights), self._adam.init(weights))

    def step(
        self, state: SegmenterState, images: Images, centre: Images, masks: Masks
    ) -> tuple[SegmenterState, Metrics]:
        """One update.

        Args:
            state: before the step.
            images: some with a synthetic defect, in units of the data.
            centre: image that was subtracted from them.
            masks: 1 on synthetic defects.
        """

        def loss(weights: Any) -> Float[Array, ""]:
            return segmentation_loss(self.logits(weights, images, centre), masks)

        value, gradient = jax.value_and_grad(loss)(state.weights)
        updates, optimizer = self._adam.update(gradient, state.optimizer)
        weights = optax.apply_updates(state.weights, updates)
        average = updated_average(state.average, weights, optimizer, decay=self.average)
        return SegmenterState(weights, average, optimizer), {"segmentation_loss": value}

    def logits(self, weights: Any, images: Images, centre: Images) -> Maps:
        """Return the logits of the probability that a pixel is anomalous.

        The centre tells where in an aligned image the pixel is.
        """
        features = jnp.concatenate([images, centre], axis=-1)
        logits: Any = self.network.apply({"params": weights}, features)
        return logits

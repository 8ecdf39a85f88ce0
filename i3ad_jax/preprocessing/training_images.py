"""All training images on the device, and the squares of them that a training step learns from."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from i3ad_jax.preprocessing.preprocessing import Augment, Preprocessing
from i3ad_jax.preprocessing.units import level
from i3ad_jax.shapes import Images, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainingImages:
    """Training images as they were read, with what brings them to units of the data. A pytree.

    Attributes:
        pixels: of the working size, 8 bits: a quarter of the memory of floats.
        gain: what levels each of them.
        centre: subtracted from them then, in pixel values.
        scale: what the rest is divided by.
        side: of the squares that are drawn.
        augment: how squares are mirrored and turned.
    """

    pixels: UInt8[Array, "n h w 3"]
    gain: Float[Array, " n"]
    centre: Float[Array, "h w 3"]
    scale: Float[Array, ""]
    side: int = field(metadata={"static": True})
    augment: Augment = field(metadata={"static": True})

    @classmethod
    def of(
        cls, images: UInt8[np.ndarray, "n h w 3"], preprocessing: Preprocessing, augment: Augment
    ) -> "TrainingImages":
        """Normal images of the working size, on the device."""
        units = preprocessing.units
        return cls(
            jnp.asarray(images),
            jnp.asarray(units.gains(images)),
            jnp.asarray(units.centre),
            jnp.float32(units.scale),
            preprocessing.side,
            augment,
        )

    def draw(self, key: PRNGKey, index: Int[Array, " b"]) -> tuple[Images, Images]:
        """A random square of each of these images, in levelled pixel values, and what is subtracted there.

        Where images have the squares' size, a square is the image.
        """
        return jax.vmap(self._draw_one)(jax.random.split(key, len(index)), index)

    def _draw_one(
        self, key: PRNGKey, index: Int[Array, ""]
    ) -> tuple[Float[Array, "s s 3"], Float[Array, "s s 3"]]:
        corner_key, flip_key, turn_key = jax.random.split(key, 3)
        height, width = self.centre.shape[:2]
        free = jnp.array([height - self.side, width - self.side])
        top, left = jax.random.randint(corner_key, (2,), 0, free + 1)
        size = (self.side, self.side, 3)
        pixels = lax.dynamic_slice(self.pixels, (index, top, left, 0), (1, *size))[0]
        centre = lax.dynamic_slice(self.centre, (top, left, 0), size)
        pair = jnp.stack([level(pixels, self.gain[index]), centre])
        if self.augment != "none":
            pair = jnp.where(jax.random.bernoulli(flip_key), pair[:, :, ::-1], pair)
        if self.augment == "turn":
            turns = [jnp.rot90(pair, count, axes=(1, 2)) for count in range(4)]
            pair = jnp.stack(turns)[jax.random.randint(turn_key, (), 0, 4)]
        return pair[0], pair[1]

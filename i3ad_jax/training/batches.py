# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""Batches of squares of training images: choice, reading ahead of each step, augmentation."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, UInt8

from i3ad_jax.data.images import Size
from i3ad_jax.data.stored import Rows
from i3ad_jax.preprocessing.preprocessing import Augment, Preprocessing
from i3ad_jax.preprocessing.scales import reduce_pixels, reduce_values
from i3ad_jax.preprocessing.units import level
from i3ad_jax.runtime.configuration import configured
from i3ad_jax.runtime.devices import copied_to_all, own_part, sharded
from i3ad_jax.shapes import Images, PRNGKey


class Draw(NamedTuple):
    """Places of squares: their images, sizes and upper left corners.

    Attributes:
        image: its number.
        corner: number of the size, row and column.
    """

    image: Int[np.ndarray, " b"]
    corner: Int[np.ndarray, "b 3"]


@dataclass(frozen=True)
class Cut:
    """Rule by which squares are cut from images.

    Attributes:
        sizes: to which images are reduced first, one of them at random.
        side: of the squares, in pixels.
    """

    sizes: Sequence[Size]
    side: int

    def corners(self, random: np.random.Generator, count: int) -> Int[np.ndarray, "b 3"]:
        """Draw places of `number` squares, as in `Draw`."""
        level = random.integers(len(self.sizes), size=count)
        free = np.array(self.sizes)[level] - self.side
        return np.column_stack([level, random.integers(0, free + 1)])

    def square(
        self, image: UInt8[np.ndarray, "h w 3"], corner: Int[np.ndarray, "3"]
    ) -> UInt8[np.ndarray, "s s 3"]:
        """Return the square of an image of the working size."""
        level, top, left = corner
        size = self.sizes[level]
        by = image.shape[0] // size[0], image.shape[1] // size[1]
        window = [
            slice(first * each, (first + self.side) * each)
            for first, each in zip((top, left), by, strict=True)
        ]
        return reduce_pixels(image[*window], (self.side, self.side))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RawSquares:
    """Squares as they were read, of many steps, one, or one of them. A pytree.

    Attributes:
        pixels: 8 bits: a quarter of the memory of floats.
        gains: brightness gain of the image of each.
        corners: of each in its image, as in `Draw`.
    """

    pixels: UInt8[Array, "*n s s 3"]
    gains: Float[Array, "*n"]
    corners: Int[Array, "*n 3"]

    def __getitem__(self, place: int | slice | Int[Array, ""]) -> "RawSquares":
        return jax.tree.map(lambda x: x[place], self)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Block:
    """The squares of some steps on the device, which were read together. A pytree.

    Attributes:
        first: number of the first of these steps, from 0.
        batches: squares of normal images.
        to_plant: others, that get synthetic defects.
    """

    first: Int[Array, ""]
    batches: RawSquares
    to_plant: RawSquares


class TrainingImages:
    """Normal images, and what a step draws of them: a function of the seed and its number alone.

    They stay on the host, in memory or in a file.

    Each epoch takes every image once, in an order of its own. What a step takes beyond its batch,
    for synthetic defects, is drawn with replacement: `planted` is the number of squares and their
    side.
    """

    def __init__(
        self,
        images: UInt8[Rows, "n h w 3"],
        preprocessing: Preprocessing,
        *,
        batch_size: int,
        seed: int,
        planted: tuple[int, int] = (0, 0),
    ) -> None:
        self._images = images
        self._units = preprocessing.units
        self._gains = np.full(len(images), np.nan, np.float32)  # of the images that were read
        self._batch_size, self._seed = batch_size, seed
        self._cut = Cut([preprocessing.seen], preprocessing.side)
        self._num_planted, side = planted
        self._cut_to_plant = Cut(preprocessing.level_sizes, side)
        self._orders: dict[int, Int[np.ndarray, " n"]] = {}

    def draw(self, step: int) -> Draw:
        """Return the batch of step number `step`, from 0."""
        count = len(self._images)
        positions = range(step * self._batch_size, (step + 1) * self._batch_size)
        random = self._random(0, step)
        others = random.integers(0, count, self._num_planted)
        index = np.array(
            [*(self._order(position // count)[position % count] for position in positions), *others]
        )
        corners = self._cut.corners(random, self._batch_size)
        if self._num_planted:
            to_plant = self._cut_to_plant.corners(random, self._num_planted)
            corners = np.concatenate([corners, to_plant])
        return Draw(index, corners)

    def blocks(self, start: int, stop: int, *, together: int, devices: int = 1) -> Iterator[Block]:
        """Yield the blocks of steps from `start` to before `stop`, reading the next one ahead.

        Args:
            start: number of the first step.
            stop: number after that of the last step.
            together: steps of a block; the first one is a multiple of it.
            devices: each has its part of every batch.
        """
        firsts = range(start - start % together, stop, together) if start < stop else ()
        steps = [range(first, first + together) for first in firsts]
        with ThreadPoolExecutor(max_workers=1) as reader:
            ahead = [reader.submit(self._read, first, devices) for first in steps[:1]]
            for following in steps[1:]:
                block = ahead.pop().result()
                ahead.append(reader.submit(self._read, following, devices))
                yield block
            if ahead:
                yield ahead.pop().result()

    @configured  # in a thread of its own
    def _read(self, steps: range, devices: int) -> Block:
        draws = [self.draw(step) for step in steps]
        image, corner = (np.stack(arrays) for arrays in zip(*draws, strict=True))
        size = self._batch_size
        batches = self._read_squares(self._cut, image[:, :size], corner[:, :size], devices)
        to_plant = self._read_squares(
            self._cut_to_plant, image[:, size:], corner[:, size:], devices
        )
        return Block(copied_to_all(devices, jnp.int32(steps.start)), batches, to_plant)

    def _read_squares(
        self,
        cut: Cut,
        image: Int[np.ndarray, "k b"],
        corner: Int[np.ndarray, "k b 3"],
        devices: int,
    ) -> RawSquares:
        """These squares, of which each process reads its own part."""
        image, corner = own_part(image, axis=1), own_part(corner, axis=1)
        pixels = np.empty((*image.shape, cut.side, cut.side, 3), np.uint8)
        for place in np.ndindex(*image.shape):
            whole = self._images[image[place]]
            pixels[place] = cut.square(whole, corner[place])
            if np.isnan(self._gains[image[place]]):
                self._gains[image[place]] = self._units.gains(whole[None])[0]
        arrays = (pixels, self._gains[image], corner.astype(np.int32))
        return RawSquares(*(sharded(array, devices=devices, axis=1) for array in arrays))

    def _order(self, epoch: int) -> Int[np.ndarray, " n"]:
        if epoch not in self._orders:
            kept = {other: self._orders[other] for other in self._orders if abs(other - epoch) == 1}
            self._orders = {**kept, epoch: self._random(1, epoch).permutation(len(self._images))}
        return self._orders[epoch]

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng(
            np.random.SeedSequence(self._seed, spawn_key=(purpose, number))
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Augmentation:
    """Squares as they were read to squares that a network learns from. A pytree.

    Attributes:
        centre: subtracted from normalised images, in pixel values, at each of their sizes; smaller
            ones fill the upper left corner.
        scale: divisor of the rest.
        augment: rule by which squares are mirrored and turned.
    """

    centre: Float[Array, "sizes h w 3"]
    scale: Float[Array, ""]
    augment: Augment = field(metadata={"static": True})

    @classmethod
    def of(
        cls, preprocessing: Preprocessing, augment: Augment, sizes: Sequence[Size] | None = None
    ) -> "Augmentation":
        """Return that of squares of images of these sizes, by default of the method's squares."""
        units, sizes = preprocessing.units, sizes or [preprocessing.seen]
        centre = np.zeros((len(sizes), *sizes[0], 3), np.float32)
        for own, (height, width) in zip(centre, sizes, strict=True):
            own[:height, :width] = reduce_values(units.centre, (height, width))
        return cls(jnp.asarray(centre), jnp.float32(units.scale), augment)

    def __call__(self, key: PRNGKey, squares: RawSquares) -> tuple[Images, Images]:
        """Return squares mirrored and turned at random, normalised, and their centre.

        The centre, which is subtracted there, is mirrored and turned alike.
        """
        return jax.vmap(self._augment_one)(jax.random.split(key, len(squares.pixels)), squares)

    def _augment_one(
        self, key: PRNGKey, square: RawSquares
    ) -> tuple[Float[Array, "s s 3"], Float[Array, "s s 3"]]:
        flip_key, turn_key = jax.random.split(key)
        corner, shape = (*square.corners, 0), (1, *square.pixels.shape)
        (centre,) = lax.dynamic_slice(self.centre, corner, shape)
        pair = jnp.stack([level(square.pixels, square.gains), centre])
        if self.augment != "none":
            pair = jnp.where(jax.random.bernoulli(flip_key), pair[:, :, ::-1], pair)
        if self.augment == "turn":
            turns = [jnp.rot90(pair, count, axes=(1, 2)) for count in range(4)]
            pair = jnp.stack(turns)[jax.random.randint(turn_key, (), 0, 4)]
        return pair[0], pair[1]

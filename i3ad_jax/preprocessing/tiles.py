"""Overlapping tiles: images of any size through a network of one size, results in one piece."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from i3ad_jax.data.images import Size
from i3ad_jax.runtime.queues import ProgressBar
from i3ad_jax.shapes import AnyArray

OVERLAP = 0.25  # of a tile's side, at least
# Of a tile's side: so near its border its results do not count where another tile has them.
MARGIN = 0.0625
_ALMOST_NOTHING = 1e-9  # but they do where no other tile has any


class Place(NamedTuple):
    """Place of a tile: its image, first row and first column."""

    image: int
    top: int
    left: int


@dataclass(frozen=True)
class Tiling:
    """Division of images of one size into tiles; a single tile if it has their size.

    Attributes:
        size: of the images: height, width.
        side: of a tile, in pixels; at most the images' height and width.
    """

    size: Size
    side: int

    @cached_property
    def corners(self) -> list[tuple[int, int]]:
        """First row and column of each tile: evenly spaced, overlapping at least a quarter tile."""
        rows, columns = (_starts(length, self.side) for length in self.size)
        return [(top, left) for top in rows for left in columns]

    @cached_property
    def weights(self) -> Float[np.ndarray, "side side"]:
        """Weights of a tile's pixels where tiles overlap, falling from the middle to the border."""
        position = np.arange(self.side) + 0.5
        inside = np.minimum(position, self.side - position) - MARGIN * self.side
        line = np.maximum(inside / self.side, _ALMOST_NOTHING)
        return np.outer(line, line).astype(np.float32)

    @cached_property
    def _windows(self) -> list[tuple[slice, slice]]:
        return [
            (slice(top, top + self.side), slice(left, left + self.side))
            for top, left in self.corners
        ]

    @cached_property
    def _total(self) -> Float[np.ndarray, "h w"]:
        """The weights of all tiles together."""
        total = np.zeros(self.size, np.float32)
        for window in self._windows:
            total[window] += self.weights
        return total

    def share(self, tile: int) -> Float[np.ndarray, "side side"]:
        """Return the weights of a tile's pixels in the image: over all tiles 1 at each pixel."""
        return self.weights / self._total[self._windows[tile]]

    def cut(self, images: Shaped[AnyArray, "n h w c"]) -> Shaped[AnyArray, "n tiles side side c"]:
        """The tiles of images, in the order of `corners`."""
        tiles = [images[:, *window] for window in self._windows]
        return images.__array_namespace__().stack(tiles, axis=1)

    def blend(self, tiles: Float[Array, "n tiles side side"]) -> Float[Array, "n h w"]:
        """Maps of images from those of their tiles: what `map` does, as part of a program."""
        (height, width), whole = self.size, jnp.zeros(())
        for number, (top, left) in enumerate(self.corners):
            around = (top, height - top - self.side), (left, width - left - self.side)
            whole += jnp.pad(self.share(number) * tiles[:, number], ((0, 0), *around))
        return whole

    def places(self, num_images: int) -> Iterator[Place]:
        """All tiles of `num_images` images, image by image."""
        for image in range(num_images):
            for top, left in self.corners:
                yield Place(image, top, left)

    def images_in(self, queue_size: int) -> int:
        """Return how many images have tiles for one queue of this size; at least 1."""
        return max(queue_size // len(self.corners), 1)

    def images_for(self, queue_size: int) -> int:
        """The least number of images whose tiles fill queues of this size without a rest."""
        return queue_size // math.gcd(queue_size, len(self.corners))

    def map(
        self,
        function: Callable[[list[Place]], Any],
        num_images: int,
        *,
        at_once: int,
        bar: ProgressBar | None = None,
    ) -> Any:
        """Return the results of `function` for all tiles, put together for whole images.

        Where tiles overlap, a pixel's result is their weighted mean. Memory is that of the results
        and of one call, whatever the number of tiles.

        Args:
            function: from at most `at_once` places to a pytree of arrays `tiles side side ...`.
            num_images: at least one.
            at_once: tiles of a call.
            bar: to move on by every finished image.

        Returns:
            The same pytree with arrays `num_images height width ...`, float32.
        """
        places = list(self.places(num_images))
        whole: Any = None
        for first in range(0, len(places), at_once):
            part = places[first : first + at_once]
            results = jax.tree.map(np.asarray, function(part))
            if whole is None:
                whole = self._zeros(num_images, results)
            self._add(first, part, results, whole)
            if bar is not None:
                bar.update((first + len(part)) // len(self.corners) - first // len(self.corners))
        return whole

    def _zeros(self, num_images: int, results: Any) -> Any:
        """Return empty results for whole images, filled with 0."""
        shape = (num_images, *self.size)
        return jax.tree.map(lambda x: np.zeros((*shape, *x.shape[3:]), np.float32), results)

    def _add(self, first: int, places: list[Place], results: Any, whole: Any) -> None:
        """Add weighted results of tiles, from tile number `first` on, to those of the images."""
        for row, (image, _, _) in enumerate(places):
            tile = (first + row) % len(self.corners)

            window, share = (image, *self._windows[tile]), self.share(tile)

            def add(all_images: np.ndarray, tiles: np.ndarray) -> None:
                extra = (1,) * (tiles.ndim - 3)
                all_images[window] += share.reshape(*share.shape, *extra) * tiles[row]  # noqa: B023 (at once)

            jax.tree.map(add, whole, results)


def _starts(length: int, side: int) -> list[int]:
    """Return the first positions of tiles along a line, evenly spaced, the ends flush.

    They are as few as overlap enough.
    """
    if length == side:
        return [0]
    count = int(np.ceil((length - side) / ((1 - OVERLAP) * side))) + 1
    return [round(start) for start in np.linspace(0, length - side, count)]

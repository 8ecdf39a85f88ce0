"""Conversions between 8-bit pixels and floating-point images."""

import jax.numpy as jnp
import numpy as np

from i3ad_jax.shapes import to_float, to_uint8

PIXELS = np.arange(256, dtype=np.uint8).reshape(8, 8, 4)


def test_every_pixel_value_comes_back() -> None:
    images = to_float(PIXELS)
    assert (images.min(), images.max()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(jnp.asarray(images)), PIXELS)


def test_numpy_and_jax_give_the_same_images() -> None:
    np.testing.assert_allclose(to_float(jnp.asarray(PIXELS)), to_float(PIXELS), rtol=0, atol=2e-7)


def test_values_are_clipped_and_rounded_to_the_nearest() -> None:
    half = 1 / 255  # half a step of 8-bit pixels
    images = jnp.array([-7.0, -1 + 0.9 * half, -1 + 1.1 * half, 1 - 0.9 * half, 7.0])
    assert to_uint8(images.reshape(1, 5, 1)).ravel().tolist() == [0, 0, 1, 255, 255]

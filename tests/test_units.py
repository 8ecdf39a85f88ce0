"""Units of the data: effects and choice of brightness normalisation, centring and scaling."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.data.textures import make_textures
from i3ad_jax.preprocessing.units import (
    Centre,
    Units,
    choose_centre,
    choose_level,
    from_units,
    level,
    to_units,
    unlevelled,
)
from i3ad_jax.shapes import to_float

RNG = np.random.default_rng(0)
SIZE = (32, 40)
CENTRES: tuple[Centre, ...] = ("none", "colour", "image")


def as_pixels(values: np.ndarray) -> np.ndarray:
    return np.round(255 * np.clip(values, 0, 1)).astype(np.uint8)


def textures(kind: str, count: int = 40) -> np.ndarray:
    return make_textures(kind, size=(48, 48)).train.images[:count]


def surfaces(intensities: np.ndarray) -> np.ndarray:
    """Surfaces of one relative grain, each of its own intensity."""
    grain = 1 + 0.1 * RNG.normal(size=(len(intensities), *SIZE, 3))
    return as_pixels(intensities[:, None, None, None] * grain)


def objects(count: int = 20) -> np.ndarray:
    """One object, always at the same place, and noise."""
    picture = RNG.uniform(0.2, 0.8, (*SIZE, 3))
    return as_pixels(picture + RNG.normal(0, 0.02, (count, *SIZE, 3)))


def levelled(images: np.ndarray, units: Units) -> np.ndarray:
    gains = units.gains(images)
    return np.asarray(level(jnp.asarray(images), jnp.asarray(gains, jnp.float32)))


def test_levelled_images_have_one_mean_intensity() -> None:
    images = surfaces(RNG.uniform(0.2, 0.7, 8))
    units = Units.of(images, level=True, centre="none")
    assert units.level == pytest.approx(images.mean() / 255)
    intensities = (levelled(images, units) + 1).mean(axis=(1, 2, 3), dtype=np.float64) / 2
    np.testing.assert_allclose(intensities, images.mean() / 255, rtol=1e-5)


def test_levelling_is_the_same_on_the_device() -> None:
    images = surfaces(RNG.uniform(0.2, 0.7, 3))
    units = Units.of(images, level=True, centre="none")
    expected = np.stack([units.levelled(image) for image in images])
    np.testing.assert_allclose(levelled(images, units), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("xp", [np, jnp], ids=["numpy", "jax"])
def test_units_lead_back_to_the_pixels_they_came_from(xp: Any, centre: Centre) -> None:
    images = surfaces(RNG.uniform(0.2, 0.7, 3))
    units = Units.of(images, level=True, centre=centre)
    pixels, gains = xp.asarray(images), xp.asarray(units.gains(images))
    subtracted = xp.asarray(units.centre)
    values = to_units(level(pixels, gains), subtracted, units.scale)
    assert values.dtype == np.float32
    back = unlevelled(from_units(values, subtracted, units.scale), gains)
    np.testing.assert_allclose(back, to_float(pixels), rtol=0, atol=2e-6)


@pytest.mark.parametrize("levels", [True, False])
def test_gains_are_the_same_in_a_program(levels: bool) -> None:
    images = surfaces(np.array([0.0, 0.2, 0.7]))
    units = Units.of(images, level=levels, centre="none")
    found, expected = jax.jit(units.gains)(images), units.gains(images)
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_levelling_leaves_pixels_as_they_are_bit_for_bit() -> None:
    images = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    units = Units.of(images, level=False, centre="none")
    np.testing.assert_array_equal(levelled(images, units), to_float(jnp.asarray(images)))
    np.testing.assert_array_equal(units.centre, 0)
    assert units.scale == 1


@pytest.mark.parametrize(("centre", "axes"), [("image", (0,)), ("colour", (0, 1, 2))])
@pytest.mark.parametrize("levels", [False, True])
def test_centred_images_have_mean_zero_and_a_quarter_as_standard_deviation(
    levels: bool, centre: Centre, axes: tuple[int, ...]
) -> None:
    images = surfaces(RNG.uniform(0.2, 0.7, 10))
    units = Units.of(images, level=levels, centre=centre)
    values = ((levelled(images, units) - units.centre) / units.scale).astype(np.float64)
    np.testing.assert_allclose(values.mean(axis=axes), 0, atol=1e-5)
    assert np.sqrt(np.mean(values**2)) == pytest.approx(1 / 4, rel=1e-5)


def test_mean_colour_is_that_of_the_mean_image() -> None:
    images = textures("weave", 5)
    units = Units.of(images, level=False, centre="colour")
    expected = np.asarray(to_float(jnp.asarray(images))).mean(axis=(0, 1, 2), dtype=np.float64)
    np.testing.assert_allclose(units.centre, np.broadcast_to(expected, (48, 48, 3)), atol=1e-6)


def test_images_of_differing_exposure_are_levelled() -> None:
    exposures = np.random.default_rng(1).uniform(0.4, 1, 40)
    for kind in ("weave", "mesh"):
        pixels = textures(kind)
        exposed = np.round(pixels * exposures[:, None, None, None]).astype(np.uint8)
        chosen, spread = choose_level(exposed)
        assert chosen, (kind, spread)
        assert spread["levelled"] < spread["as_they_are"]


def test_images_of_one_exposure_are_left_alone() -> None:
    one_exposure = surfaces(np.full(20, 0.5))
    # What is dark here is the object, of which there is more or less: the grain is that of all
    # images.
    dark_objects = RNG.normal(0.8, 0.02, (20, *SIZE, 3))
    for image, rows in zip(dark_objects, np.arange(20), strict=True):
        image[:rows] -= 0.5
    for images in (one_exposure, objects(), as_pixels(dark_objects)):
        chosen, spread = choose_level(images)
        assert not chosen, spread


def test_levelling_is_chosen_whatever_image_comes_first() -> None:
    exposed = surfaces(np.linspace(0.2, 0.7, 10))
    exposed[0] = 0
    (one, spread), (other, again) = choose_level(exposed), choose_level(exposed[::-1])
    assert one == other
    assert spread == pytest.approx(again)


def test_mean_image_is_subtracted_from_objects_that_lie_alike() -> None:
    images = objects()
    chosen, explained = choose_centre(images[:15], images[15:], level=False)
    assert chosen == "image"
    assert 0.9 < explained <= 1


@pytest.mark.parametrize("kind", ["weave", "mesh", "brick"])
def test_mean_colour_is_subtracted_from_textures(kind: str) -> None:
    images = textures(kind)
    chosen, explained = choose_centre(images[:30], images[30:], level=False)
    assert chosen == "colour", explained
    assert explained < 0.1


@pytest.mark.parametrize("grey", [0, 130, 255])
@pytest.mark.parametrize("levels", [False, True])
def test_images_without_contrast(grey: int, levels: bool) -> None:
    images = np.full((4, *SIZE, 3), grey, np.uint8)
    assert not choose_level(images)[0]
    assert choose_centre(images[:3], images[3:], level=levels)[1] == 1
    for centre in CENTRES:
        units = Units.of(images, level=levels, centre=centre)
        assert units.scale > 0
        values = (levelled(images, units) - units.centre) / units.scale
        expected = float(to_float(jnp.asarray(images))[0, 0, 0, 0]) if centre == "none" else 0.0
        np.testing.assert_allclose(values, expected, atol=1e-4)


def test_black_image_among_others() -> None:
    images = surfaces(RNG.uniform(0.2, 0.7, 4))
    units = Units.of(images, level=True, centre="image")
    black = np.zeros_like(images[:1])
    np.testing.assert_array_equal(levelled(black, units), -1)
    assert np.isfinite(units.squared_deviation(black[0]))

"""The table of scores, and the maps that it gives against NumPy and scikit-image."""

import ast
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve
from skimage.metrics import structural_similarity
from skimage.transform import downscale_local_mean, resize

import i3ad_jax
from benchmarks.networks import build
from i3ad_jax.config import default_config
from i3ad_jax.methods import METHODS
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.scoring.maps import (
    CALIBRATED,
    COMBINED,
    PLAIN,
    POOLINGS,
    SCORES,
    SEGMENTATION,
    Pair,
    Pooling,
    image_scores,
    l2_map,
    plain_maps,
)
from i3ad_jax.scoring.ssim import SsimSettings

RNG = np.random.default_rng(0)
IMAGE, RECONSTRUCTION = (RNG.uniform(-1, 1, (32, 48, 3)).astype(np.float32) for _ in range(2))
FEATURES = tuple(RNG.normal(size=(2, 7)).astype(np.float32))
PAIR = Pair(jnp.asarray(IMAGE), jnp.asarray(RECONSTRUCTION))
COMPLETE = Pair(
    PAIR.image, PAIR.reconstruction, (jnp.asarray(FEATURES[0]), jnp.asarray(FEATURES[1]))
)
SSIM = SsimSettings()


def distance_by_skimage(image: np.ndarray, reconstruction: np.ndarray) -> np.ndarray:
    """1 - SSIM in float64, by the constants of Wang et al."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pair = ((np.float64(x) + 1) / 2 for x in (image, reconstruction))
    result: Any = structural_similarity(*pair, data_range=1, channel_axis=-1, full=True, **options)
    return 1 - result[1].mean(axis=-1)


def test_every_row_has_a_name_and_a_label_of_its_own() -> None:
    rows = (*PLAIN, *CALIBRATED, COMBINED)
    assert list(SCORES.values()) == list(rows)
    for texts in ([row.name for row in rows], [row.label for row in rows]):
        assert all(texts)
        assert set(Counter(texts).values()) == {1}
    for name, row in SCORES.items():
        assert row.name == name
        assert row.heat_limit > 0


def test_calibrated_rows_come_from_plain_ones() -> None:
    assert [row.source for row in CALIBRATED] == [row.name for row in PLAIN if row.calibrated]
    for row in CALIBRATED:
        assert row.name == f"{row.source}_calibrated"
        assert row.map is None  # it is made of the source's
        assert row.needs == SCORES[str(row.source)].needs
        assert SCORES[str(row.source)] in PLAIN
    assert all(row.source is None for row in PLAIN)
    # of no pair: a method gives it
    assert [row.name for row in PLAIN if row.map is None] == [SEGMENTATION]


def test_no_other_module_spells_a_score() -> None:
    """A new score is a function and a row: only the table names scores, and SSIM by default."""
    needs = {row.needs for row in PLAIN}  # what a method gives, which is called so too
    names, spelt = SCORES.keys() - {"ssim"} - needs, []
    for file in Path(i3ad_jax.__file__).parent.rglob("*.py"):
        texts = {
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant)
        }
        spelt += [file.name] * bool(texts & names)
    assert spelt == ["maps.py"]


def test_every_plain_row_gives_a_map_where_what_it_needs_is_there() -> None:
    of_pairs = [row for row in PLAIN if row.map is not None]
    assert list(plain_maps(COMPLETE, SSIM)) == [row.name for row in of_pairs]
    assert list(plain_maps(PAIR, SSIM)) == [row.name for row in of_pairs if row.needs is None]
    needs = {row.name: row.needs for row in PLAIN if row.needs is not None}
    assert needs == {"l2_ld": "features", "segmentation": "segmentation"}
    for values in plain_maps(COMPLETE, SSIM).values():
        assert values.shape == (32, 48)
        assert values.dtype == jnp.float32


@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_what_it_says(name: str) -> None:
    method = build(default_config(name).with_settings({"image_size": 32}))
    gives = {"f_anogan": {"features"}, "aegan": {"features"}, "i3ad": {"segmentation"}}
    assert method.gives == gives.get(name, set())
    state = jax.eval_shape(method.init, jax.random.key(0))
    image = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
    assert (jax.eval_shape(method.features, state, image) is None) == (
        "features" not in method.gives
    )
    detail = method.detail(method.training)
    assert (detail is None) == ("segmentation" not in method.gives)
    squares = Squares.of_pixels(jnp.zeros((2, 32, 64, 3)))
    if detail is None:
        with pytest.raises(TypeError, match=f"^{name} does not segment$"):
            method.segment(state, squares)
    else:
        assert jax.eval_shape(method.segment, state, squares).shape == (2, 32, 64)


def test_maps_equal_numpy_and_scikit_image() -> None:
    maps = plain_maps(COMPLETE, SSIM)
    l2 = ((np.float64(IMAGE) - RECONSTRUCTION) ** 2).mean(axis=-1)
    np.testing.assert_allclose(maps["l2"], l2, rtol=0, atol=1e-6)
    distance = ((FEATURES[0] - FEATURES[1]) ** 2).mean()
    np.testing.assert_allclose(maps["l2_ld"], l2 + distance, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        maps["ssim"], distance_by_skimage(IMAGE, RECONSTRUCTION), rtol=0, atol=1e-5
    )
    halves = (downscale_local_mean(x, (2, 2, 1)) for x in (IMAGE, RECONSTRUCTION))
    coarse = resize(distance_by_skimage(*halves), (32, 48), order=1, mode="edge")
    # a third scale would be too small
    both = (distance_by_skimage(IMAGE, RECONSTRUCTION) + coarse) / 2
    np.testing.assert_allclose(maps["ms_ssim"], both, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["ssim", "ms_ssim"])
def test_half_the_ssim_score_halves_its_maps(name: str) -> None:
    half = plain_maps(PAIR, SsimSettings(ssim_score="half"))[name]
    np.testing.assert_allclose(half, plain_maps(PAIR, SSIM)[name] / 2, rtol=0, atol=1e-6)


def test_a_perfect_reconstruction_has_no_anomaly() -> None:
    features = COMPLETE.features
    assert features is not None
    maps = plain_maps(Pair(PAIR.image, PAIR.image, (features[0], features[0])), SSIM)
    assert set(maps) == {row.name for row in PLAIN} - {SEGMENTATION}
    for values in maps.values():
        np.testing.assert_allclose(values, 0, rtol=0, atol=1e-5)


def test_l2_map_reaches_four() -> None:
    white = jnp.ones((2, 3, 3))
    np.testing.assert_array_equal(l2_map(white, -white), np.full((2, 3), 4))


def test_image_score_is_the_mean_of_the_map() -> None:
    maps = RNG.normal(1000, 1, (3, 32, 48)).astype(np.float32)
    found = image_scores(maps, "mean")
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [np.float64(values).mean() for values in maps], rtol=1e-12)


@pytest.mark.parametrize(("pooling", "count"), [("top_1", 15), ("top_01", 2)])
def test_image_score_of_the_highest_pixels(pooling: Pooling, count: int) -> None:
    maps = RNG.normal(size=(3, 32, 48)).astype(np.float32)
    expected = [np.sort(np.float64(values).ravel())[-count:].mean() for values in maps]
    np.testing.assert_allclose(image_scores(maps, pooling), expected, rtol=1e-12)


def test_the_highest_pixels_are_one_at_least() -> None:
    maps = RNG.normal(size=(3, 5, 7)).astype(np.float32)
    for pooling in ("top_1", "top_01"):
        np.testing.assert_array_equal(image_scores(maps, pooling), maps.max(axis=(1, 2)))


def test_the_peak_is_that_of_the_smoothed_map() -> None:
    maps = RNG.normal(size=(3, 128, 128)).astype(np.float32)
    x = np.arange(-4, 5)  # SciPy cuts the Gaussian off after 4 standard deviations, here of a pixel
    kernel = np.exp(-(x**2) / 2) / np.exp(-(x**2) / 2).sum()
    for values, found in zip(maps, image_scores(maps, "peak"), strict=True):
        smooth = convolve(
            np.pad(np.float64(values), 4, mode="symmetric"), np.outer(kernel, kernel), "valid"
        )
        assert found == pytest.approx(smooth.max(), rel=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_image_scores_are_the_same_in_a_program(pooling: Pooling) -> None:
    maps = RNG.normal(1, 1, (3, 32, 48)).astype(np.float32)
    found = jax.jit(image_scores, static_argnums=1)(maps, pooling)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, image_scores(maps, pooling), rtol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_image_scores_are_float64_and_one_for_each_map(pooling: Pooling) -> None:
    maps = RNG.normal(size=(4, 16, 24)).astype(np.float32)
    found = image_scores(maps, pooling)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [image_scores(own[None], pooling)[0] for own in maps])
    constant = image_scores(np.full((1, 16, 24), -2.5, np.float32), pooling)
    np.testing.assert_allclose(constant, -2.5, rtol=1e-6)

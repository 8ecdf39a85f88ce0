"""Maps, queues and traces of reconstructions, with a toy method whose results are known."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.multi_scale import multi_scale
from i3ad_jax.scoring.ssim import SsimSettings, ssim_anomaly


@dataclass(frozen=True)
class Halving(ReconstructionMethod):
    """Halves an image in each of 60 iterations down to a floor; its feature is the mean colour."""

    name: ClassVar[str] = "halving"

    @property
    def iterations(self) -> int:
        return 60

    def init(self, key: Any) -> Any:
        return jnp.float32(0.5)

    def begin(self, state: Any, image: Any) -> Any:
        return image, jnp.int32(0)

    def improve(self, state: Any, image: Any, search: Any) -> Any:
        return state * search[0] + 0.01 * image, search[1] + 1

    def reconstruction(self, state: Any, search: Any) -> Any:
        return search[0]

    def features(self, state: Any, image: Any) -> Any:
        return image.mean(axis=(0, 1))


SSIM = SsimSettings()
ARGUMENTS = NoSettings(), NoSettings(), 16, SSIM, Throughput(test_batch_size=4)
METHOD = Halving(*ARGUMENTS)
STATE = jnp.float32(0.5)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (10, 16, 16, 3)), jnp.float32)
SQUARES = Squares.of_pixels(IMAGES)


def plainly(image: Any) -> np.ndarray:
    image = x = np.asarray(image)
    for _ in range(60):
        x = 0.5 * x + 0.01 * image
    return x


@pytest.fixture(scope="module")
def maps() -> dict[str, np.ndarray]:
    return jax.device_get(METHOD.predict(STATE, {}, SQUARES, len(IMAGES)).maps)


def test_maps_equal_a_loop_over_single_images(maps: dict[str, np.ndarray]) -> None:
    assert set(maps) == {"l2", "ssim", "ms_ssim", "l2_ld"}
    for i, image in enumerate(IMAGES):
        rebuilt = plainly(image)
        l2 = ((image - rebuilt) ** 2).mean(axis=-1)
        distance = ((image.mean(axis=(0, 1)) - rebuilt.mean(axis=(0, 1))) ** 2).mean()
        np.testing.assert_allclose(maps["l2"][i], l2, atol=1e-5)
        np.testing.assert_allclose(maps["l2_ld"][i], l2 + distance, atol=1e-5)
        ssim = ssim_anomaly(image, SSIM)(jnp.asarray(rebuilt))
        np.testing.assert_allclose(maps["ssim"][i], ssim, atol=1e-4)
        scales = multi_scale(lambda a, b: ssim_anomaly(a, SSIM)(b), image, jnp.asarray(rebuilt))
        np.testing.assert_allclose(maps["ms_ssim"][i], scales, atol=1e-4)


@pytest.mark.slow
def test_maps_and_trace_are_of_pixel_values() -> None:
    squares = Squares(IMAGES, 0.3 * IMAGES[::-1], jnp.full(10, 0.5))
    predicted = METHOD.predict(STATE, {}, squares, 10)
    np.testing.assert_allclose(predicted.reconstructions[3], plainly(IMAGES[3]), atol=1e-6)
    pixels, rebuilt = squares.pixels(IMAGES), squares.pixels(predicted.reconstructions)
    l2 = np.mean((pixels - rebuilt) ** 2, axis=-1)
    distances = np.mean((IMAGES - predicted.reconstructions).mean(axis=(1, 2)) ** 2, axis=-1)
    np.testing.assert_allclose(predicted.maps["l2"], l2, atol=1e-5)
    np.testing.assert_allclose(predicted.maps["l2_ld"], l2 + distances[:, None, None], atol=1e-5)
    ssim = jax.vmap(lambda image, other: ssim_anomaly(image, SSIM)(other))(pixels, rebuilt)
    np.testing.assert_allclose(predicted.maps["ssim"], ssim, atol=1e-4)
    traced = METHOD.trace(STATE, {}, jax.tree.map(lambda x: x[:2], squares), 2)
    np.testing.assert_allclose(traced.scores[:, -1], ssim[:2], atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_only_the_images_that_count_are_mapped(maps: dict[str, np.ndarray], count: int) -> None:
    some = METHOD.predict(STATE, {}, SQUARES, count).maps
    for kind, values in some.items():
        np.testing.assert_array_equal(values[:count], maps[kind][:count])
        assert not np.asarray(values[-(-count // 4) * 4 :]).any()


def test_one_program_serves_all_counts() -> None:
    calls = []

    class Counting(Halving):
        def improve(self, state: Any, image: Any, search: Any) -> Any:
            calls.append(None)
            return super().improve(state, image, search)

    method = Counting(*ARGUMENTS)
    method.predict(STATE, {}, SQUARES, 3)
    traced = len(calls)
    for count in (1, 10, 0):
        method.predict(STATE, {}, SQUARES, count)
    assert len(calls) == traced


def test_trace_ends_where_the_maps_are_taken(maps: dict[str, np.ndarray]) -> None:
    traced = METHOD.trace(STATE, {}, Squares.of_pixels(IMAGES[:2]), 2)
    assert METHOD.trace_iterations[0] == 0
    assert METHOD.trace_iterations[-1] == 60
    assert traced.images.shape == (2, 51, 16, 16, 3)
    assert traced.masks.shape == (2, 51, 16, 16, 1)
    np.testing.assert_allclose(traced.images[:, 0], IMAGES[:2])
    np.testing.assert_allclose(traced.scores[:, -1], maps["ssim"][:2], atol=1e-6)
    np.testing.assert_allclose(traced.images[1, -1], plainly(IMAGES[1]), atol=1e-6)


def test_a_queue_smaller_than_a_batch() -> None:
    maps = METHOD.predict(STATE, {}, Squares.of_pixels(IMAGES[:3]), 3).maps
    assert maps["l2"].shape == (3, 16, 16)


def test_sample_shows_images_and_reconstructions() -> None:
    rows = METHOD.sample(STATE, IMAGES[:2], jax.random.key(0))
    np.testing.assert_array_equal(rows[0], IMAGES[:2])
    np.testing.assert_allclose(rows[1, 1], plainly(IMAGES[1]), atol=1e-6)

"""What a model becomes as a method: maps, queues, traces, with a toy model whose results are known."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.config import Config, DataConfig, RefineConfig
from i3ad_jax.inpainting.refine import anomaly_score, ms_ssim_score
from i3ad_jax.methods.reconstruction import Model, Reconstruction


class Halving(Model):
    """Halves an image in each of 60 iterations down to a floor; sees the image's mean colour."""

    iterations = 60

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


CONFIG = Config(data=DataConfig(image_size=16), refine=RefineConfig(test_batch_size=4))
METHOD = Reconstruction(CONFIG, Halving())
STATE = jnp.float32(0.5)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (10, 16, 16, 3)).astype(np.float32)


def plainly(image: np.ndarray) -> np.ndarray:
    x = image
    for _ in range(60):
        x = 0.5 * x + 0.01 * image
    return x


@pytest.fixture(scope="module")
def maps() -> dict[str, np.ndarray]:
    return jax.device_get(METHOD.anomaly_maps(STATE, {}, jnp.asarray(IMAGES), len(IMAGES)))


def test_maps_equal_a_loop_over_single_images(maps: dict[str, np.ndarray]) -> None:
    assert list(maps) == ["l2", "l2_ld", "ms_ssim", "ssim"]
    for i, image in enumerate(IMAGES):
        remade = plainly(image)
        l2 = ((image - remade) ** 2).mean(axis=-1)
        distance = ((image.mean(axis=(0, 1)) - remade.mean(axis=(0, 1))) ** 2).mean()
        np.testing.assert_allclose(maps["l2"][i], l2, atol=1e-5)
        np.testing.assert_allclose(maps["l2_ld"][i], l2 + distance, atol=1e-5)
        ssim = anomaly_score(jnp.asarray(image), CONFIG.refine)(jnp.asarray(remade))
        np.testing.assert_allclose(maps["ssim"][i], ssim, atol=1e-4)
        scales = ms_ssim_score(jnp.asarray(image), jnp.asarray(remade), CONFIG.refine)
        np.testing.assert_allclose(maps["ms_ssim"][i], scales, atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 4, 7])
def test_only_the_images_that_count_are_mapped(maps: dict[str, np.ndarray], count: int) -> None:
    some = METHOD.anomaly_maps(STATE, {}, jnp.asarray(IMAGES), count)
    for kind, values in some.items():
        np.testing.assert_array_equal(values[:count], maps[kind][:count])
        assert not np.asarray(values[-(-count // 4) * 4 :]).any()


def test_one_program_serves_all_counts() -> None:
    calls = []

    class Counting(Halving):
        def improve(self, state: Any, image: Any, search: Any) -> Any:
            calls.append(None)
            return super().improve(state, image, search)

    method = Reconstruction(CONFIG, Counting())
    method.anomaly_maps(STATE, {}, jnp.asarray(IMAGES), 3)
    traced = len(calls)
    for count in (1, 10, 0):
        method.anomaly_maps(STATE, {}, jnp.asarray(IMAGES), count)
    assert len(calls) == traced


def test_trace_ends_where_the_maps_are_taken(maps: dict[str, np.ndarray]) -> None:
    traced = METHOD.trace(STATE, {}, jnp.asarray(IMAGES[:2]))
    assert METHOD.traced[0] == 0
    assert METHOD.traced[-1] == 60
    assert traced.images.shape == (2, 51, 16, 16, 3)
    assert traced.masks.shape == (2, 51, 16, 16, 1)
    np.testing.assert_allclose(traced.images[:, 0], IMAGES[:2])
    np.testing.assert_allclose(traced.scores[:, -1], maps["ssim"][:2], atol=1e-6)
    np.testing.assert_allclose(traced.images[1, -1], plainly(IMAGES[1]), atol=1e-6)


def test_a_queue_smaller_than_a_batch() -> None:
    maps = METHOD.anomaly_maps(STATE, {}, jnp.asarray(IMAGES[:3]), 3)
    assert maps["l2"].shape == (3, 16, 16)


def test_sample_shows_images_and_reconstructions() -> None:
    rows = METHOD.sample(STATE, jnp.asarray(IMAGES[:2]), jax.random.key(0))
    np.testing.assert_array_equal(rows[0], IMAGES[:2])
    np.testing.assert_allclose(rows[1, 1], plainly(IMAGES[1]), atol=1e-6)

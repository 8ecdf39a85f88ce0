"""The segmentation network and its loss: shapes, a small task, the loss against scikit-learn."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import dice

from i3ad_jax.nn.segmenter import Segmenter
from i3ad_jax.segmentation.loss import segmentation_loss
from tests.support.random_weights import random_weights

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("depth", "channels"), [(2, 7), (4, 1)])
def test_shape_and_type_of_logits(depth: int, channels: int, dtype: Any) -> None:
    segmenter = Segmenter(width=4, depth=depth, dtype=dtype)
    features = jax.ShapeDtypeStruct((2, 16, 48, channels), jnp.float32)
    variables = jax.eval_shape(segmenter.init, jax.random.key(0), features)
    logits: Any = jax.eval_shape(segmenter.apply, variables, features)
    assert (logits.shape, logits.dtype) == ((2, 16, 48), jnp.float32)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_reduced_precision_gives_about_the_same_logits() -> None:
    features = jnp.asarray(FEATURES)
    network = Segmenter(width=4, depth=2)
    variables = random_weights(jax.eval_shape(network.init, jax.random.key(0), features))
    exact: Any = jax.jit(network.apply)(variables, features)
    coarse: Any = jax.jit(Segmenter(width=4, depth=2, dtype=jnp.bfloat16).apply)(
        variables, features
    )
    assert np.std(exact) > 0.1
    assert 0 < np.abs(coarse - exact).max() < 0.1 * np.ptp(exact)


def test_images_of_a_batch_do_not_mix() -> None:
    network = Segmenter(width=4, depth=2)
    variables = random_weights(jax.eval_shape(network.init, jax.random.key(0), FEATURES))
    apply: Any = jax.jit(network.apply)
    changed = FEATURES.copy()
    changed[0] *= -1
    before, after = apply(variables, FEATURES), apply(variables, changed)
    assert np.abs(before - after)[0].max() > 0.01
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.slow
def test_a_small_task_is_learnt() -> None:
    """Bright squares on noise are found in images not seen before, and marked pixel by pixel."""
    rng = np.random.default_rng(1)

    def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
        images, masks = rng.normal(0, 0.3, (count, 32, 32, 1)), np.zeros((count, 32, 32, 1))
        for image, mask in zip(images, masks, strict=True):
            top, left = rng.integers(0, 24, 2)
            image[top : top + 7, left : left + 7] += 1
            mask[top : top + 7, left : left + 7] = 1
        return images.astype(np.float32), masks.astype(np.float32)

    network, adam = Segmenter(width=8, depth=2), optax.adam(2e-2)

    @jax.jit
    def step(variables: Any, moments: Any, images: Any, masks: Any) -> Any:
        def objective(variables: Any) -> Any:
            logits: Any = network.apply(variables, images)
            return segmentation_loss(logits, masks)

        value, gradient = jax.value_and_grad(objective)(variables)
        updates, moments = adam.update(gradient, moments)
        return optax.apply_updates(variables, updates), moments, value

    images, masks = draw(4)
    variables = jax.jit(network.init)(jax.random.key(0), images)
    moments = adam.init(variables)
    losses = []
    for _ in range(50):
        variables, moments, value = step(variables, moments, images, masks)
        losses.append(float(value))
        images, masks = draw(4)
    assert losses[-1] < 0.2 * losses[0]
    logits: Any = jax.jit(network.apply)(variables, images)
    truth = masks.ravel() > 0
    # A threshold of single pixels, halfway between the square and the rest, errs by the noise.
    by_threshold = dice(images.ravel() > 0.5, truth)
    assert dice(np.ravel(logits) > 0, truth) < by_threshold / 2

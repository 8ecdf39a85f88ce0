"""The patch discriminator: spectral norm against the SVD, a logit vector per patch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from i3ad_jax.nn.patchgan import PatchDiscriminator
from tests.support.random_weights import random_weights

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)), jnp.float32)

MASKS = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 16, 16, 1)) < 0.3, jnp.float32)


def discriminator(depth: int) -> tuple[PatchDiscriminator, Any]:
    """A discriminator with random weights, before any step of the power iteration."""
    patchgan = PatchDiscriminator(width=3, depth=depth)

    def init() -> Any:
        return patchgan.init(jax.random.key(0), IMAGES, MASKS, update_stats=False)

    return patchgan, random_weights(jax.eval_shape(init))


def largest_singular_value(kernel: np.ndarray) -> float:
    return float(np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0])


def test_spectral_norm_finds_the_largest_singular_values() -> None:
    patchgan, variables = discriminator(depth=3)

    def iterate(_: int, batch_stats: Any) -> Any:
        current = {"params": variables["params"], "batch_stats": batch_stats}
        _, after = patchgan.apply(
            current, IMAGES, MASKS, update_stats=True, mutable=["batch_stats"]
        )
        return after["batch_stats"]

    batch_stats = jax.jit(lambda stats: lax.fori_loop(0, 300, iterate, stats))(
        variables["batch_stats"]
    )
    for layer in range(3):
        kernel = variables["params"][f"conv_{layer}"]["kernel"]
        sigma = batch_stats[f"spectral_norm_{layer}"][f"conv_{layer}/kernel/sigma"]
        assert sigma == pytest.approx(largest_singular_value(kernel), rel=1e-3)


def test_layers_act_as_kernels_of_spectral_norm_one() -> None:
    patchgan, variables = discriminator(depth=1)
    weights = variables["params"]["conv_0"]
    matrix = weights["kernel"].reshape(-1, 3)
    leading = np.linalg.svd(matrix)[2][:1]  # what the power iteration converges to
    variables["batch_stats"]["spectral_norm_0"]["conv_0/kernel/u"] = leading
    kernel = weights["kernel"] / largest_singular_value(weights["kernel"])
    inputs = jnp.concatenate([IMAGES, MASKS], axis=-1)
    expected = lax.conv_general_dilated(
        inputs, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    logits: Any = patchgan.apply(variables, IMAGES, MASKS, update_stats=False)
    np.testing.assert_allclose(logits, expected + weights["bias"], rtol=0, atol=1e-5)


def test_power_iteration_advances_only_when_asked() -> None:
    patchgan, variables = discriminator(depth=2)
    before = variables["batch_stats"]
    for update_stats in (False, True):
        _, after = patchgan.apply(
            variables, IMAGES, MASKS, update_stats=update_stats, mutable=["batch_stats"]
        )
        changed = jax.tree.map(lambda x, y: not np.array_equal(x, y), before, after["batch_stats"])
        assert all(value == update_stats for value in jax.tree.leaves(changed))


def test_discriminator_has_a_logit_vector_per_patch() -> None:
    patchgan, variables = discriminator(depth=4)
    images, masks = jnp.tile(IMAGES, (1, 2, 1, 1)), jnp.tile(MASKS, (1, 2, 1, 1))
    logits = jax.eval_shape(lambda: patchgan.apply(variables, images, masks, update_stats=False))
    assert logits.shape == (2, 2, 1, 12)

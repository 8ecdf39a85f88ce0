"""Calibration and anomaly maps of the method, with a small generator of random weights."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_weights

from i3ad_jax.config import Config, DataConfig, NetworkConfig, RefineConfig
from i3ad_jax.inpainting.choose_u import U_CANDIDATES
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.inpainting_gan import GanState

CONFIG = Config(
    data=DataConfig(image_size=32),
    network=NetworkConfig(width=2, dilations=(2,), discriminator_width=2, discriminator_depth=2),
    # Half scores: one of the rule's candidates, 0.5, then masks a part of these images, more of it at first.
    refine=RefineConfig(iterations=3, patches=4, u_iterations=2, base="original", ssim_score="half"),
)
METHOD = I3AD(CONFIG)
IMAGES = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)), jnp.float32)


@pytest.fixture(scope="module")
def state() -> GanState:
    """Maps need the generator alone."""
    shapes = jax.eval_shape(METHOD.init, jax.random.key(0)).generator
    return GanState(random_weights(shapes, gain=2), {}, {}, (), ())


def test_calibration_with_a_given_u(state: GanState) -> None:
    method = I3AD(replace(CONFIG, refine=replace(CONFIG.refine, u=0.37)))
    assert method.calibrate(state, IMAGES) == {"u": 0.37, "u_reason": "given by --u"}


def test_calibration_by_the_rule(state: GanState) -> None:
    calibration = METHOD.calibrate(state, IMAGES)
    assert json.loads(json.dumps(calibration)) == calibration
    errors = calibration["u_errors"]
    assert list(errors) == [f"{u:.2f}" for u in U_CANDIDATES["original"]]
    # Nothing comes near the tolerance here.
    assert calibration["u"] == float(min(errors, key=errors.get)) == 0.5
    assert calibration["u_reason"].startswith("no u")
    after_u_iterations = METHOD.trace(state, calibration, IMAGES).images[:, 2]
    assert errors["0.50"] == pytest.approx(float(jnp.abs(after_u_iterations - IMAGES).mean()) / 2, rel=1e-5)


def test_maps_are_of_the_last_image_of_the_trace(state: GanState) -> None:
    maps = METHOD.anomaly_maps(state, {"u": 0.5}, IMAGES, 2)
    states = METHOD.trace(state, {"u": 0.5}, IMAGES)
    assert set(maps) == {"l2", "ms_ssim", "ssim"}
    assert states.images.shape == (2, 4, 32, 32, 3)
    assert 0 < states.masks[:, -1].mean() < states.masks[:, 1].mean() < 1
    expected = ((np.asarray(states.images[:, -1]) - IMAGES) ** 2).mean(axis=-1)
    np.testing.assert_allclose(maps["l2"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(maps["ssim"], states.scores[:, -1], rtol=0, atol=1e-5)


def test_images_of_a_batch_do_not_touch_each_other(state: GanState) -> None:
    maps = METHOD.anomaly_maps(state, {"u": 0.5}, IMAGES, 2)
    padded = METHOD.anomaly_maps(state, {"u": 0.5}, IMAGES.at[1].set(0), 2)
    for name in maps:
        np.testing.assert_array_equal(maps[name][0], padded[name][0])

"""Training as an iterator of steps."""

import gc
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from i3ad_jax.config import default_config
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.training import steps as fit
from i3ad_jax.training.steps import training_steps
from tests.conftest import tiny_settings
from tests.support.made_up_plan import made_up_plan


def test_the_training_set_stays_on_the_host_and_its_squares_in_bytes() -> None:
    config = default_config("l2_ae").with_settings({**tiny_settings("l2_ae"), "steps": 2})
    steps = Throughput().steps_per_call
    block = config.training.batch_size * steps * 32 * 32 * 3
    images = np.random.default_rng(0).integers(0, 256, (10 * steps, 32, 32, 3)).astype(np.uint8)
    plan = replace(
        made_up_plan(config), preprocessing=Preprocessing.learn(images[:60], images[60:], side=32)
    )
    gc.collect()  # arrays that other tests have left
    for _ in training_steps(plan, images):
        large = [array for array in jax.live_arrays() if array.size >= block]
        assert [(array.dtype, array.size) for array in large] == [(np.uint8, block)]


def test_how_many_steps_are_one_call_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    config = default_config("l2_ae").with_settings({**tiny_settings("l2_ae"), "steps": 7})
    images = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    plan = replace(
        made_up_plan(config), preprocessing=Preprocessing.learn(images[:6], images[6:], side=32)
    )
    monkeypatch.setattr(fit, "CALL_SECONDS", 1e6)

    def numbers_and_end(every: tuple[int, ...], steps_per_call: int = 20) -> tuple[list[int], Any]:
        own = replace(plan)
        throughput = Throughput(steps_per_call=steps_per_call)
        vars(own)["method"] = replace(plan.method, throughput=throughput)
        steps = training_steps(own, images, every=every)
        found = [(step.number, jax.device_get(step.state)) for step in steps]
        return [number for number, _ in found], found[-1][1]

    one_by_one, expected = numbers_and_end((1,))
    together, state = numbers_and_end((3, 5))
    in_blocks, other = numbers_and_end((7,), steps_per_call=4)
    assert (one_by_one, together) == ([1, 2, 3, 4, 5, 6, 7], [1, 3, 5, 6, 7])
    assert in_blocks == [1, 4, 7]
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    jax.tree.map(np.testing.assert_array_equal, other, expected)


def test_the_seed_draws_the_initial_weights() -> None:
    """All images are alike here, so that nothing else of a training depends on the seed."""
    config = default_config("l2_ae").with_settings(tiny_settings("l2_ae"))
    images = np.repeat(
        np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8), 6, axis=0
    )
    preprocessing = Preprocessing.learn(images, images, side=32, levelling="no", centre="none")

    def first_weights(seed: int) -> list[np.ndarray]:
        plan = made_up_plan(config.with_settings({"seed": seed}))
        step = next(training_steps(replace(plan, preprocessing=preprocessing), images))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(step.state.weights)]

    first, same, other = (first_weights(seed) for seed in (3, 3, 4))
    for x, y, z in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.ndim == 1 or np.abs(x - z).max() > 1e-3  # biases start at 0

"""The queue and the early exit against the loop of fixed length, and what the queue costs."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from toy_inpainting import blur, random_image

from i3ad_jax.config import RefineConfig
from i3ad_jax.inpainting.queue import refine_queue, trace_queue
from i3ad_jax.inpainting.refine import refine, trace

CONFIG = RefineConfig(iterations=8, patches=4)
CAPACITY = 7
HERE = Path(__file__).parent
NEAR_U = 2e-5  # where a score is as near as this to u, rounding decides the mask

configs = strategies.sampled_from(
    [
        replace(CONFIG, base=base, shrink=shrink, stop_tolerance=tolerance)
        for base in ("previous", "original")
        for shrink in (False, True)
        for tolerance in (0.0, 0.2)
    ]
)
settings = hypothesis.settings(max_examples=15, deadline=None, derandomize=True, database=None)


def random_images(seed: int) -> np.ndarray:
    """Images of all degrees of difficulty: a pure ramp is finished at once."""
    images = np.stack([random_image(seed + i) for i in range(CAPACITY)])
    images[::3] = np.linspace(-0.8, 0.6, images.shape[2])[:, None]
    return images


@partial(jax.jit, static_argnames=("config", "early_exit"))
def batch(images: Any, u: Any, *, config: RefineConfig, early_exit: bool) -> Any:
    return jax.vmap(lambda image: refine(blur, image, u=u, config=config, early_exit=early_exit))(images)


@partial(jax.jit, static_argnames="config")
def states(images: Any, u: Any, *, config: RefineConfig) -> Any:
    return jax.vmap(lambda image: trace(blur, image, u=u, config=config))(images)


@partial(jax.jit, static_argnames=("slots", "config"))
def queue(images: Any, count: Any, u: Any, *, slots: int, config: RefineConfig) -> Any:
    return refine_queue(blur, images, count=count, slots=slots, u=u, config=config)


@partial(jax.jit, static_argnames=("slots", "config"))
def traced_queue(images: Any, count: Any, u: Any, *, slots: int, config: RefineConfig) -> Any:
    return trace_queue(blur, images, count=count, slots=slots, u=u, config=config)


@settings
@hypothesis.given(seed=strategies.integers(0, 10**6), u=strategies.floats(0.02, 1.2), config=configs)
def test_early_exit_gives_the_bits_of_the_fixed_loop(seed: int, u: float, config: RefineConfig) -> None:
    images = random_images(seed)
    fixed, early = (batch(images, u, config=config, early_exit=early) for early in (False, True))
    jax.tree.map(np.testing.assert_array_equal, early[:3], fixed[:3])
    assert (early.iterations <= fixed.iterations).all()


def flip(masked: Any, mask: Any) -> Any:
    """Fills holes by one of two patterns, according to their number: masks go to and fro."""
    y, x = jnp.mgrid[: masked.shape[0], : masked.shape[1]]
    patterns = jnp.sin(jnp.stack([y * x, 1.7 * y + x * x]) * 0.9)
    return jnp.broadcast_to(patterns[jnp.int32(mask.sum()) % 2][..., None], masked.shape)


@pytest.mark.parametrize("iterations", [30, 31])
def test_a_loop_that_goes_to_and_fro_ends_early_as_the_fixed_one_does(iterations: int) -> None:
    images, config = random_images(0), replace(CONFIG, base="original", iterations=iterations)
    run = partial(refine, flip, u=0.9, config=config)
    fixed, early = (jax.jit(jax.vmap(partial(run, early_exit=early)))(images) for early in (False, True))
    masks = jax.jit(jax.vmap(partial(trace, flip, u=0.9, config=config)))(images).masks
    circling = [(m[-1] == m[-3]).all() and (m[-1] != m[-2]).any() for m in np.asarray(masks)]
    assert any(circling)
    assert (early.iterations[np.array(circling)] < iterations).all()
    jax.tree.map(np.testing.assert_array_equal, early[:3], fixed[:3])
    queued = refine_queue(flip, jnp.asarray(images), count=CAPACITY, slots=3, u=0.9, config=config)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-5), queued[:3], fixed[:3])
    np.testing.assert_array_equal(queued.iterations, early.iterations)


@settings
@hypothesis.given(
    seed=strategies.integers(0, 10**6),
    u=strategies.floats(0.02, 1.2),
    config=configs,
    slots=strategies.sampled_from([1, 3]),
    order=strategies.permutations(range(CAPACITY)),
)
def test_a_queue_in_any_order_equals_the_fixed_loop(
    seed: int, u: float, config: RefineConfig, slots: int, order: list[int]
) -> None:
    images = random_images(seed)[order]
    hypothesis.assume(jnp.abs(states(images, u, config=config).scores - u).min() > NEAR_U)
    fixed = batch(images, u, config=config, early_exit=False)
    queued = queue(images, CAPACITY, u, slots=slots, config=config)
    np.testing.assert_array_equal(queued.mask, fixed.mask)
    assert (queued.iterations <= fixed.iterations).all()
    np.testing.assert_allclose(queued.image, fixed.image, rtol=0, atol=1e-5)
    np.testing.assert_allclose(queued.score, fixed.score, rtol=0, atol=1e-5)


@settings
@hypothesis.given(seed=strategies.integers(0, 10**6), u=strategies.floats(0.02, 1.2), config=configs)
def test_a_queue_keeps_every_state_of_the_loop(seed: int, u: float, config: RefineConfig) -> None:
    images = random_images(seed)
    expected = states(images, u, config=config)
    hypothesis.assume(jnp.abs(expected.scores - u).min() > NEAR_U)
    traced, last = traced_queue(images, CAPACITY - 1, u, slots=3, config=config)
    last, traced, expected = jax.tree.map(lambda x: x[: CAPACITY - 1], (last, traced, expected))
    np.testing.assert_array_equal(traced.masks, expected.masks)
    np.testing.assert_allclose(traced.images, expected.images, rtol=0, atol=1e-5)
    np.testing.assert_allclose(traced.scores, expected.scores, rtol=0, atol=1e-5)
    fixed = batch(images, u, config=config, early_exit=False)
    np.testing.assert_array_equal(last, fixed.iterations[: CAPACITY - 1])


def test_what_follows_the_count_is_not_touched() -> None:
    images = random_images(0)
    whole = queue(images, CAPACITY, 0.3, slots=3, config=CONFIG)
    for count in (0, 1, 5):
        part = queue(images, count, 0.3, slots=3, config=CONFIG)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:count], b[:count]), part, whole)  # noqa: B023
        assert not part.image[count:].any()


def test_each_image_of_a_queue_can_have_a_threshold_of_its_own() -> None:
    images = np.repeat(random_images(3)[1:2], 3, axis=0)
    mixed = queue(images, 3, jnp.array([0.1, 0.3, 0.8]), slots=2, config=CONFIG)
    assert len({int(x) for x in mixed.mask.sum(axis=(1, 2, 3))}) > 1
    for i, u in enumerate((0.1, 0.3, 0.8)):
        alone = queue(images, 3, u, slots=2, config=CONFIG)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[i], b[i]), mixed, alone)  # noqa: B023


def test_another_count_or_threshold_is_the_same_program() -> None:
    shapes = []

    def counted(masked: Any, mask: Any) -> Any:
        shapes.append(masked.shape)
        return blur(masked, mask)

    run = jax.jit(partial(refine_queue, counted, slots=3, config=CONFIG))
    for count, u in ((CAPACITY, 0.3), (2, 0.6)):
        run(random_images(0), count=count, u=u)
    assert len(shapes) == 1  # traced once: all slots in one call, checkerboards too
    assert run.lower(random_images(0), count=2, u=0.3).as_text().count("stablehlo.while") == 1


def test_the_cost_follows_the_mean() -> None:
    """Calls of `inpaint`: the work divided by the slots, and a tail while the slowest image ends alone."""
    calls = []

    def counted(masked: Any, mask: Any) -> Any:
        jax.debug.callback(lambda: calls.append(1))
        return blur(masked, mask)

    images = np.concatenate([random_images(seed) for seed in range(0, 70, 7)])
    config = replace(CONFIG, iterations=30, base="original")
    run = jax.jit(partial(refine_queue, counted, slots=2, config=config))
    iterations = np.asarray(run(images, count=len(images), u=0.8).iterations)
    jax.effects_barrier()
    assert iterations.mean() < 0.3 * config.iterations <= iterations.max()
    turns = len(calls)  # all slots in one call
    work = (4 + iterations).sum() / 2
    assert work <= turns <= work + (4 + iterations.max()) / 2


def test_devices_share_a_queue() -> None:
    """Three simulated devices, which need a process of their own, give what one gives."""
    code = """
import jax
jax.config.update("jax_num_cpu_devices", 3)
from functools import partial
import numpy as np
from test_refine_queue import CONFIG, blur, random_images
from i3ad_jax.runtime.devices import spread_over_devices
from i3ad_jax.inpainting.queue import refine_queue
images = random_images(0)
queue = lambda images, count: refine_queue(blur, images, count=count, slots=2, u=0.3, config=CONFIG)
for count in (2, 7):
    one, three = (
        jax.jit(partial(spread_over_devices, queue, count=count, devices=n))(images) for n in (1, 3)
    )
    assert len(three.image.sharding.device_set) == 3
    np.testing.assert_array_equal(three.mask, one.mask)
    np.testing.assert_array_equal(three.iterations[:count], one.iterations[:count])
    np.testing.assert_allclose(three.image, one.image, rtol=0, atol=1e-5)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE)

"""The queue against the loop's fixed form, and what the queue costs."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from i3ad_jax.inpainting.masks import NUM_CHECKERBOARDS
from i3ad_jax.inpainting.queue import queue_loops, refine_queue, trace_queue
from i3ad_jax.inpainting.refine import Inpaint, LoopSettings, refine, trace
from i3ad_jax.scoring.ssim import SsimSettings, ssim_anomaly
from tests.support.toy_inpainting import blur, random_image

SETTINGS = LoopSettings(iterations=8, patches=4)
SSIM = SsimSettings()
CAPACITY = 7
ROOT = Path(__file__).parents[1]
NEAR_U = 2e-5  # where a score is as near as this to u, rounding decides the mask

# Users get the bits of XLA's newer emitters of fused loops, not of those by which tests compile
# quickly.
quickly = "xla_cpu_use_fusion_emitters" in os.environ.get("XLA_FLAGS", "")
exactly = partial(
    jax.jit, compiler_options={"xla_cpu_use_fusion_emitters": True} if quickly else {}
)

# Each choice meets each of the others once, in the slow tests.
OTHER_LOOPS = (
    replace(SETTINGS, base="original", shrink=True),
    replace(SETTINGS, shrink=True, stop_tolerance=0.2),
    replace(SETTINGS, base="original", stop_tolerance=0.2),
)


def slow(*values: Any) -> list[Any]:
    """Parameters of slow tests."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


drawn = hypothesis.given(seed=strategies.integers(0, 10**6), u=strategies.floats(0.02, 1.2))
five = hypothesis.settings(max_examples=5)
all_settings = pytest.mark.parametrize("settings", [SETTINGS, *slow(*OTHER_LOOPS)])
# An odd number tells the iterations that are left from those that are done.
lengths = pytest.mark.parametrize("iterations", [31, *slow(30)])


def random_images(seed: int) -> np.ndarray:
    """Images of all degrees of difficulty: a pure ramp is finished at once."""
    images = np.stack([random_image(seed + i) for i in range(CAPACITY)])
    images[::3] = np.linspace(-0.8, 0.6, images.shape[2])[:, None]
    return images


def scores_of(images: Any) -> Any:
    return jax.vmap(lambda image: ssim_anomaly(image, SSIM))(images)


def batch(images: Any, u: Any, *, settings: LoopSettings, inpaint: Inpaint = blur) -> Any:
    one = partial(refine, inpaint, u=u, settings=settings)
    return jax.vmap(lambda image, score: one(image, score=score))(images, scores_of(images))


def queue(
    images: Any, count: Any, u: Any, *, slots: int, settings: LoopSettings, inpaint: Inpaint = blur
) -> Any:
    loops = queue_loops(images, scores=scores_of(images), u=u, settings=settings)
    return refine_queue(inpaint, loops, count=count, slots=slots)


exact_batch = exactly(batch, static_argnames=("settings", "inpaint"))
exact_queue = exactly(queue, static_argnames=("slots", "settings", "inpaint"))
quick_batch = jax.jit(batch, static_argnames=("settings", "inpaint"))
quick_queue = jax.jit(queue, static_argnames=("slots", "settings", "inpaint"))


@partial(jax.jit, static_argnames=("settings", "inpaint"))
def states(images: Any, u: Any, *, settings: LoopSettings, inpaint: Inpaint = blur) -> Any:
    one = partial(trace, inpaint, u=u, settings=settings)
    return jax.vmap(lambda image, score: one(image, score=score))(images, scores_of(images))


@partial(jax.jit, static_argnames=("slots", "settings", "inpaint"))
def queue_states(
    images: Any, count: Any, u: Any, *, slots: int, settings: LoopSettings, inpaint: Inpaint = blur
) -> Any:
    loops = queue_loops(images, scores=scores_of(images), u=u, settings=settings)
    return trace_queue(inpaint, loops, count=count, slots=slots)


def of_fixed_loop(images: Any, u: float, *, settings: LoopSettings, inpaint: Inpaint = blur) -> Any:
    """All states as NumPy arrays, and after how many iterations they repeat."""
    return jax.device_get(states(images, u, settings=settings, inpaint=inpaint))


def is_clear(fixed: Any, u: float) -> bool:
    """Return whether rounding decides no mask."""
    return np.abs(fixed.scores - u).min() > NEAR_U


def of_queue(images: Any, count: int, u: float, **options: Any) -> Any:
    """The last states as NumPy arrays, with the same u for each image."""
    each = np.broadcast_to(np.float32(u), len(images))
    return jax.device_get(quick_queue(images, count, each, **options))


def assert_near(actual: Any, expected: Any) -> None:
    """Equal up to rounding, which is up to 4e-7 in scores with SSE4.2, AVX2 and AVX-512."""
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=2e-6), actual, expected)


def counting(inpaint: Inpaint) -> tuple[Inpaint, Callable[[], int]]:
    """The function with a counter of the times that a program runs it, all slots in one call."""
    calls = []

    def counted(masked: Any, mask: Any) -> Any:
        jax.debug.callback(lambda: calls.append(None))
        return inpaint(masked, mask)

    def count() -> int:
        jax.effects_barrier()
        return len(calls)

    return counted, count


@all_settings
@five
@drawn
def test_queue_with_a_slot_for_each_image_gives_the_bits_of_the_fixed_loop(
    seed: int, u: float, settings: LoopSettings
) -> None:
    images = random_images(seed)
    fixed, queued = jax.device_get(
        (
            exact_batch(images, u, settings=settings),
            exact_queue(images, CAPACITY, u, slots=CAPACITY, settings=settings),
        )
    )
    jax.tree.map(np.testing.assert_array_equal, queued[:3], fixed[:3])
    assert (queued.iterations <= fixed.iterations).all()


def alternate(masked: Any, mask: Any) -> Any:
    """Fills holes by one of two patterns, chosen by their number: masks enter period-2 cycles."""
    y, x = jnp.mgrid[: masked.shape[0], : masked.shape[1]]
    patterns = jnp.sin(jnp.stack([y * x, 1.7 * y + x * x]) * 0.9)
    return jnp.broadcast_to(patterns[jnp.int32(mask.sum()) % 2][..., None], masked.shape)


def in_cycles(masks: Any) -> np.ndarray:
    """Return which trajectories alternate between two masks at their end."""
    ends = [((m[-1] == m[-3]).all() and (m[-1] != m[-2]).any()) for m in np.asarray(masks)]
    return np.array(ends)


@pytest.mark.parametrize("slots", [3, *slow(CAPACITY)])
@lengths
def test_a_period_2_cycle_ends_early_as_the_fixed_loop_does(iterations: int, slots: int) -> None:
    images, settings = random_images(0), replace(SETTINGS, base="original", iterations=iterations)
    options = {"settings": settings, "inpaint": alternate}
    fixed, last = of_fixed_loop(images, 0.9, **options)
    assert is_clear(fixed, 0.9)
    cycles = in_cycles(fixed.masks)
    assert cycles.any()
    assert (last[cycles] == iterations).all()
    queued = of_queue(images, CAPACITY, 0.9, slots=slots, **options)
    assert_near(queued[:3], (fixed.images[:, -1], fixed.masks[:, -1], fixed.scores[:, -1]))
    assert (queued.iterations[cycles] < iterations).all()
    np.testing.assert_array_equal(queued.iterations[~cycles], last[~cycles])


@pytest.mark.slow
@pytest.mark.parametrize("iterations", [30, 31])
def test_a_period_2_cycle_ends_with_the_bits_of_the_fixed_loop(iterations: int) -> None:
    images, settings = random_images(0), replace(SETTINGS, base="original", iterations=iterations)
    options = {"settings": settings, "inpaint": alternate}
    fixed = exact_batch(images, 0.9, **options)
    queued = exact_queue(images, CAPACITY, 0.9, slots=CAPACITY, **options)
    assert (queued.iterations < fixed.iterations).any()
    jax.tree.map(np.testing.assert_array_equal, queued[:3], fixed[:3])


@lengths
def test_trace_of_a_period_2_cycle_alternates_to_its_end_without_inpainting(
    iterations: int,
) -> None:
    images, settings = random_images(0), replace(SETTINGS, base="original", iterations=iterations)
    fixed, last = of_fixed_loop(images, 0.9, settings=settings, inpaint=alternate)
    assert is_clear(fixed, 0.9)
    index = int(np.flatnonzero(in_cycles(fixed.masks))[0])
    image, expected = images[index : index + 1], jax.tree.map(itemgetter(index), fixed)
    inpaint, count = counting(alternate)
    found, ends = jax.device_get(
        queue_states(image, 1, 0.9, slots=1, settings=settings, inpaint=inpaint)
    )
    assert_near(jax.tree.map(itemgetter(0), found), expected)
    assert ends[0] == last[index] == iterations
    assert count() < NUM_CHECKERBOARDS + iterations
    # The last update is none that was computed, and still differs from the one before.
    assert (found.masks[0, -1] != found.masks[0, -2]).any()
    np.testing.assert_array_equal(found.masks[0, -1], found.masks[0, -3])


@pytest.mark.parametrize("slots", [3, *slow(1)])
@all_settings
@five
@hypothesis.given(
    seed=strategies.integers(0, 10**6),
    u=strategies.floats(0.02, 1.2),
    order=strategies.permutations(range(CAPACITY)),
)
def test_a_queue_in_any_order_equals_the_fixed_loop(
    seed: int, u: float, settings: LoopSettings, slots: int, order: list[int]
) -> None:
    images = random_images(seed)[order]
    fixed, last = of_fixed_loop(images, u, settings=settings)
    hypothesis.assume(is_clear(fixed, u))
    queued = of_queue(images, CAPACITY, u, slots=slots, settings=settings)
    np.testing.assert_array_equal(queued.mask, fixed.masks[:, -1])
    assert (queued.iterations <= last).all()
    assert_near(queued.image, fixed.images[:, -1])
    assert_near(queued.score, fixed.scores[:, -1])


@pytest.mark.parametrize("settings", [OTHER_LOOPS[0], *slow(SETTINGS, *OTHER_LOOPS[1:])])
@five
@drawn
def test_a_queue_keeps_every_state_of_the_loop(seed: int, u: float, settings: LoopSettings) -> None:
    images = random_images(seed)
    fixed = of_fixed_loop(images, u, settings=settings)
    hypothesis.assume(is_clear(fixed[0], u))
    queued = jax.device_get(queue_states(images, CAPACITY - 1, u, slots=3, settings=settings))
    (found, last), (expected, end) = jax.tree.map(lambda x: x[: CAPACITY - 1], (queued, fixed))
    np.testing.assert_array_equal(found.masks, expected.masks)
    assert_near(found.images, expected.images)
    assert_near(found.scores, expected.scores)
    np.testing.assert_array_equal(last, end)


def test_what_follows_the_count_is_not_touched() -> None:
    images = random_images(0)
    whole = of_queue(images, CAPACITY, 0.3, slots=3, settings=SETTINGS)
    for count in (0, 1, 5):
        part = of_queue(images, count, 0.3, slots=3, settings=SETTINGS)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:count], b[:count]), part, whole)  # noqa: B023
        assert not part.image[count:].any()


def test_each_image_of_a_queue_can_have_a_threshold_of_its_own() -> None:
    images, u = np.repeat(random_images(3)[1:2], CAPACITY, axis=0), (0.1, 0.3, 0.8)
    each = np.array([*u, 0, 0, 0, 0], np.float32)
    mixed = jax.device_get(quick_queue(images, 3, each, slots=3, settings=SETTINGS))
    assert len({int(x) for x in mixed.mask[:3].sum(axis=(1, 2, 3))}) > 1
    for i in range(3):
        alone = of_queue(images, 3, u[i], slots=3, settings=SETTINGS)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[i], b[i]), mixed, alone)  # noqa: B023


def test_another_count_or_threshold_is_the_same_program() -> None:
    shapes = []

    def counted(masked: Any, mask: Any) -> Any:
        shapes.append(masked.shape)
        return blur(masked, mask)

    @jax.jit
    def run(images: Any, count: Any, u: Any) -> Any:
        loops = queue_loops(images, scores=scores_of(images), u=u, settings=SETTINGS)
        return refine_queue(counted, loops, count=count, slots=3)

    for count, u in ((CAPACITY, 0.3), (2, 0.6)):
        run(random_images(0), count=count, u=u)
    assert len(shapes) == 1  # traced once: all slots in one call, checkerboards too
    assert run.lower(random_images(0), count=2, u=0.3).as_text().count("stablehlo.while") == 1


def test_the_cost_follows_the_mean() -> None:
    """Calls of `inpaint`: the work divided by the slots, and a tail for the slowest image."""
    images = np.concatenate([random_images(seed) for seed in range(0, 70, 7)])
    settings = replace(SETTINGS, iterations=30, base="original")
    inpaint, count = counting(blur)
    iterations = of_queue(
        images, len(images), 0.8, slots=2, settings=settings, inpaint=inpaint
    ).iterations
    assert iterations.mean() < 0.3 * settings.iterations <= iterations.max()
    work = (NUM_CHECKERBOARDS + iterations).sum() / 2
    assert work <= count() <= work + (NUM_CHECKERBOARDS + iterations.max()) / 2


def test_the_fixed_loop_always_takes_every_step() -> None:
    inpaint, count = counting(blur)
    quick_batch(random_images(0), 2.01, settings=SETTINGS, inpaint=inpaint)
    assert count() == NUM_CHECKERBOARDS + SETTINGS.iterations


@pytest.mark.slow
def test_devices_share_a_queue() -> None:
    """Three simulated devices, which need a process of their own, give what one gives."""
    code = """
import jax
jax.config.update("jax_num_cpu_devices", 3)
from functools import partial
import numpy as np
from tests.test_queue import SETTINGS, queue, random_images
from i3ad_jax.runtime.devices import shard_over_devices
images = random_images(0)
run = lambda images, count: queue(images, count, 0.3, slots=2, settings=SETTINGS)
for count in (2, 7):
    one, three = (
        jax.jit(partial(shard_over_devices, run, count=count, devices=n))(images) for n in (1, 3)
    )
    assert len(three.image.sharding.device_set) == 3
    np.testing.assert_array_equal(three.mask, one.mask)
    np.testing.assert_array_equal(three.iterations[:count], one.iterations[:count])
    np.testing.assert_allclose(three.image, one.image, rtol=0, atol=1e-5)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

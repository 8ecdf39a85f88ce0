"""The loop's two drivers against the plain loop, for a toy inpaint function and a small network."""

import ast
import itertools
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

from i3ad_jax import inpainting
from i3ad_jax.inpainting.queue import queue_loops, refine_queue, trace_queue
from i3ad_jax.inpainting.refine import Inpaint, Loop, LoopSettings, refine, trace
from i3ad_jax.nn.inpainter import Inpainter
from i3ad_jax.scoring.ssim import SsimSettings, ssim_anomaly
from tests.support.plain_loop import Plain, distance, distance_by_skimage, plain_loop
from tests.support.random_weights import random_weights
from tests.support.toy_inpainting import blur, random_image

SETTINGS = LoopSettings(iterations=8, patches=4)
BOTH_BASES = [replace(SETTINGS, base="previous"), replace(SETTINGS, base="original")]
SSIM = SsimSettings()
MARGIN = 1e-5  # from every score to u; float32 rounding then decides no pixel of a mask
TOLERANCE = 1e-5

Driver = Callable[..., Any]


def network() -> Inpaint:
    """A small generator with random weights, which does not magnify rounding."""
    inpainter = Inpainter(width=2, dilations=(2,))
    images, masks = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 32, 32, 1))
    weights = random_weights(jax.eval_shape(inpainter.init, jax.random.key(0), images, masks))

    def inpaint(masked: Any, mask: Any) -> Any:
        outputs: Any = inpainter.apply(weights, masked[None], mask[None])
        return outputs[1][0]

    return inpaint


NETWORK = network()
SQUARE_IMAGES = np.stack([random_image(seed, (32, 32)) for seed in range(3)])


@partial(jax.jit, static_argnames=("inpaint", "settings", "ssim"))
def by_fixed(
    image: Any,
    u: Any,
    *,
    settings: LoopSettings,
    inpaint: Inpaint = blur,
    ssim: SsimSettings = SSIM,
) -> Any:
    return refine(inpaint, image, score=ssim_anomaly(image, ssim), u=u, settings=settings)


@partial(jax.jit, static_argnames=("inpaint", "settings", "ssim"))
def by_queue(
    image: Any,
    u: Any,
    *,
    settings: LoopSettings,
    inpaint: Inpaint = blur,
    ssim: SsimSettings = SSIM,
) -> Any:
    scores = jax.vmap(lambda image: ssim_anomaly(image, ssim))(image[None])
    loops = queue_loops(image[None], scores=scores, u=u, settings=settings)
    state = refine_queue(inpaint, loops, count=1, slots=1)
    return jax.tree.map(itemgetter(0), state)


@partial(jax.jit, static_argnames=("inpaint", "settings"))
def fixed_trace(image: Any, u: Any, *, settings: LoopSettings, inpaint: Inpaint = blur) -> Any:
    return trace(inpaint, image, score=ssim_anomaly(image, SSIM), u=u, settings=settings)


@partial(jax.jit, static_argnames=("inpaint", "settings"))
def queue_trace(image: Any, u: Any, *, settings: LoopSettings, inpaint: Inpaint = blur) -> Any:
    scores = jax.vmap(lambda image: ssim_anomaly(image, SSIM))(image[None])
    loops = queue_loops(image[None], scores=scores, u=u, settings=settings)
    found = trace_queue(inpaint, loops, count=1, slots=1)
    return jax.tree.map(itemgetter(0), found)


both_drivers = pytest.mark.parametrize("driver", [by_fixed, by_queue], ids=["fixed", "queue"])
both_traces = pytest.mark.parametrize("tracer", [fixed_trace, queue_trace], ids=["fixed", "queue"])
both_bases = pytest.mark.parametrize("settings", BOTH_BASES, ids=lambda settings: settings.base)


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def assert_equals_plain(result: Any, plain: Plain, *, margin: float = MARGIN) -> None:
    assert plain.margin > margin
    assert 0 < plain.masks[-1].mean() < 1
    assert_close(result.image, plain.images[-1])
    np.testing.assert_array_equal(result.mask, plain.masks[-1])


def test_there_is_one_definition_of_the_step() -> None:
    """Nothing but the step inpaints: whoever calls the network writes the loop a second time."""
    callers = []

    def look(node: ast.AST, path: tuple[str, ...]) -> None:
        named = isinstance(node, ast.ClassDef | ast.FunctionDef)
        inside = (*path, node.name) if named else path
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "inpaint":
            callers.append(".".join(inside))
        for child in ast.iter_child_nodes(node):
            look(child, inside)

    for file in sorted(Path(inpainting.__path__[0]).glob("*.py")):
        look(ast.parse(file.read_text()), (file.stem,))
    assert callers == ["refine.Loop.step"]


@both_drivers
@pytest.mark.parametrize("shrink", [False, True])
@both_bases
def test_equals_the_plain_loop(settings: LoopSettings, shrink: bool, driver: Driver) -> None:
    settings = replace(settings, shrink=shrink)
    for u in (0.3, 0.5, 0.6):
        plain = plain_loop(jax.jit(blur), random_image(0), u=u, settings=settings)
        assert_equals_plain(driver(random_image(0), u, settings=settings), plain)


@both_drivers
def test_equals_the_plain_loop_with_half_the_score(driver: Driver) -> None:
    half = partial(distance, half=True)
    plain = plain_loop(jax.jit(blur), random_image(0), u=0.15, settings=SETTINGS, score=half)
    ssim = SsimSettings(ssim_score="half")
    assert_equals_plain(driver(random_image(0), 0.15, settings=SETTINGS, ssim=ssim), plain)


@both_drivers
def test_equals_the_plain_loop_with_scikit_images_ssim(driver: Driver) -> None:
    plain = plain_loop(
        jax.jit(blur), random_image(0), u=0.6, settings=SETTINGS, score=distance_by_skimage
    )
    # scikit-image computes in float64, from which ours is up to 1e-4 away.
    assert_equals_plain(driver(random_image(0), 0.6, settings=SETTINGS), plain, margin=2e-4)


@pytest.mark.slow
def test_a_network_and_a_batch_equal_the_plain_loop_too() -> None:
    options = {"u": 0.7, "settings": BOTH_BASES[1]}

    def one(image: Any) -> Any:
        return refine(NETWORK, image, score=ssim_anomaly(image, SSIM), **options)

    def all_of_them(images: Any) -> Any:
        scores = jax.vmap(lambda image: ssim_anomaly(image, SSIM))(images)
        loops = queue_loops(images, scores=scores, **options)
        return refine_queue(NETWORK, loops, count=3, slots=2)

    batched, queued = jax.jit(jax.vmap(one))(SQUARE_IMAGES), jax.jit(all_of_them)(SQUARE_IMAGES)
    for index, image in enumerate(SQUARE_IMAGES):
        plain = plain_loop(jax.jit(NETWORK), image, u=0.7, settings=BOTH_BASES[1])
        # Masks are the same to the pixel, images but for rounding: a batch may add in another
        # order.
        assert_equals_plain(by_fixed(image, 0.7, settings=BOTH_BASES[1], inpaint=NETWORK), plain)
        for batch in (batched, queued):
            assert_equals_plain(jax.tree.map(itemgetter(index), batch), plain)


@hypothesis.settings(max_examples=15, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    seed=strategies.integers(0, 10**6),
    u=strategies.floats(0.05, 1.2),
    settings=strategies.sampled_from(BOTH_BASES),
)
def test_stopping_at_an_unchanged_mask_changes_nothing(
    seed: int, u: float, settings: LoopSettings
) -> None:
    plain = plain_loop(jax.jit(blur), random_image(seed), u=u, settings=settings)
    hypothesis.assume(plain.margin > MARGIN)
    settled = (
        i for i, (a, b) in enumerate(itertools.pairwise(plain.masks)) if i and np.array_equal(a, b)
    )
    last = next(settled, settings.iterations)
    fixed, queued = (
        driver(random_image(seed), u, settings=settings) for driver in (by_fixed, by_queue)
    )
    for result in (fixed, queued):
        assert_close(result.image, plain.images[-1])
    assert queued.iterations <= fixed.iterations == last  # the queue ends a period-2 cycle too


@both_drivers
@both_bases
def test_stop_tolerance_leaves_the_state_where_the_mask_changed_little(
    settings: LoopSettings, driver: Driver
) -> None:
    plain = plain_loop(jax.jit(blur), random_image(0), u=0.3, settings=settings)
    changes = [np.abs(a - b).sum() / a.sum() for a, b in itertools.pairwise(plain.masks)]
    last = next(i for i in range(1, len(changes)) if changes[i] <= 0.25)
    assert np.abs(plain.images[last] - plain.images[-1]).max() > 0.01
    result = driver(random_image(0), 0.3, settings=replace(settings, stop_tolerance=0.25))
    assert result.iterations == last
    assert_close(result.image, plain.images[last])
    np.testing.assert_array_equal(result.mask, plain.masks[last])


def test_batch_is_one_program_with_one_loop() -> None:
    calls = []

    def counted(masked: Any, mask: Any) -> Any:
        calls.append(masked.shape)
        return blur(masked, mask)

    def run(images: Any, u: Any) -> Any:
        def one(image: Any) -> Any:
            return refine(
                counted, image, score=ssim_anomaly(image, SSIM), u=u, settings=SETTINGS
            ).image

        return jax.vmap(one)(images)

    jitted = jax.jit(run)
    for seed, u in ((0, 0.3), (1, 0.6)):
        jitted(np.stack([random_image(seed), random_image(seed + 1)]), u)
    assert len(calls) == 1  # when compiled: the step, of checkerboard passes and iterations alike
    assert jitted.lower(np.stack([random_image(0)]), 0.3).as_text().count("stablehlo.while") == 1


@both_drivers
def test_no_iteration_is_the_checkerboard_pass(driver: Driver) -> None:
    settings = replace(SETTINGS, iterations=0)
    result = driver(random_image(0), 0.3, settings=settings)
    assert_close(
        result.image, plain_loop(jax.jit(blur), random_image(0), u=0.3, settings=settings).images[0]
    )
    assert (result.mask == 1).all()
    assert result.iterations == 0


def show(masked: Any, _: Any) -> Any:
    return masked


@both_drivers
def test_inpaint_sees_zeros_in_holes(driver: Driver) -> None:
    once = replace(SETTINGS, base="original", iterations=1)
    result = driver(random_image(0), 0.9, settings=once, inpaint=show)
    assert 0 < result.mask.mean() < 1
    np.testing.assert_array_equal(result.image, random_image(0) * (1 - result.mask))
    assert not driver(
        random_image(0), 0.9, settings=replace(once, iterations=0), inpaint=show
    ).image.any()


@both_bases
def test_checkerboard_pass_predicts_a_patch_from_other_patches(settings: LoopSettings) -> None:
    image, changed = random_image(0), random_image(0)
    changed[:6, :8] = -changed[:6, :8]  # one patch
    before, after = (
        by_fixed(x, 0.3, settings=replace(settings, iterations=0)).image for x in (image, changed)
    )
    np.testing.assert_array_equal(before[:6, :8], after[:6, :8])
    assert np.abs(before - after)[:6, 8:].max() > 0.01


@both_traces
@both_bases
def test_trace_records_the_loop(settings: LoopSettings, tracer: Driver) -> None:
    image = random_image(0)
    (states, last), result = (
        tracer(image, 0.3, settings=settings),
        by_fixed(image, 0.3, settings=settings),
    )
    plain = plain_loop(jax.jit(blur), image, u=0.3, settings=settings)
    assert_close(states.images, plain.images)
    np.testing.assert_array_equal(states.masks, plain.masks)
    assert_close(states.scores, [distance(image, state) for state in plain.images])
    np.testing.assert_array_equal(states.masks[1:, ..., 0], states.scores[:-1] >= 0.3)
    assert_close(states.images[-1], result.image)
    np.testing.assert_array_equal(states.masks[-1], result.mask)
    assert last == result.iterations


@both_traces
def test_shrinking_masks_are_nested(tracer: Driver) -> None:
    nested = {}
    for shrink in (False, True):
        masks = tracer(random_image(0), 0.3, settings=replace(SETTINGS, shrink=shrink))[0].masks
        nested[shrink] = bool((np.diff(masks, axis=0) <= 0).all())
    assert nested == {False: False, True: True}


@both_drivers
def test_u_of_zero_masks_everything(driver: Driver) -> None:
    result = driver(random_image(0), 0.0, settings=SETTINGS)
    assert (result.mask == 1).all()
    assert (result.image == 0).all()  # what blurring no known pixel gives
    assert result.iterations == 1


@both_drivers
def test_u_above_two_masks_nothing(driver: Driver) -> None:
    first = driver(random_image(0), 2.01, settings=replace(SETTINGS, iterations=0)).image
    for settings, expected in zip(BOTH_BASES, (first, random_image(0)), strict=True):
        result = driver(random_image(0), 2.01, settings=settings)
        assert (result.mask == 0).all()
        assert_close(result.image, expected)
        assert result.iterations == 1


@both_traces
def test_perfect_inpainting_leaves_no_anomaly(tracer: Driver) -> None:
    image = random_image(0)
    states, _ = tracer(image, 0.01, settings=SETTINGS, inpaint=lambda *_: jnp.asarray(image))
    np.testing.assert_array_equal(states.images, np.broadcast_to(image, states.images.shape))
    np.testing.assert_allclose(states.scores, 0, rtol=0, atol=1e-4)
    assert (states.masks[1:] == 0).all()


def test_a_score_of_exactly_u_is_masked() -> None:
    """The paper's rule is a >= u, which random scores never tell from a > u."""
    image, score = jnp.zeros((2, 3, 3)), jnp.float32([[0.25, 0.5, 0.75], [0.5, 0.0, 1.0]])
    loop = Loop.of(image, score=lambda _: score, u=0.5, settings=LoopSettings(patches=2))
    mask = loop.next_mask(loop.start()._replace(score=score))
    np.testing.assert_array_equal(mask[..., 0], [[0, 1, 1], [1, 0, 1]])

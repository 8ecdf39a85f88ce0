"""The loop against the plain one, for a toy inpaint function and a small network."""

import itertools
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies
from plain_loop import Plain, distance, distance_by_skimage, plain_loop
from random_weights import random_weights
from toy_inpainting import blur, random_image

from i3ad_jax.config import RefineConfig
from i3ad_jax.inpainting.refine import Inpaint, checkerboard_pass, refine, trace
from i3ad_jax.nn.inpainter import Inpainter

CONFIG = RefineConfig(iterations=8, patches=4)
BOTH_BASES = [replace(CONFIG, base="previous"), replace(CONFIG, base="original")]
MARGIN = 1e-5  # from every score to u; float32 rounding then decides no pixel of a mask
TOLERANCE = 1e-5


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


@partial(jax.jit, static_argnames=("inpaint", "config"))
def refined(image: Any, u: Any, *, config: RefineConfig, inpaint: Inpaint = blur) -> Any:
    return refine(inpaint, image, u=u, config=config)


@partial(jax.jit, static_argnames=("inpaint", "config"))
def traced(image: Any, u: Any, *, config: RefineConfig, inpaint: Inpaint = blur) -> Any:
    return trace(inpaint, image, u=u, config=config)


def assert_close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def assert_equals_plain(result: Any, plain: Plain, *, margin: float = MARGIN) -> None:
    assert plain.margin > margin
    assert 0 < plain.masks[-1].mean() < 1
    assert_close(result.image, plain.images[-1])
    np.testing.assert_array_equal(result.mask, plain.masks[-1])


@pytest.mark.parametrize("shrink", [False, True])
@pytest.mark.parametrize("config", BOTH_BASES, ids=lambda config: config.base)
def test_equals_the_plain_loop(config: RefineConfig, shrink: bool) -> None:
    config = replace(config, shrink=shrink)
    for u in (0.3, 0.5, 0.6):
        plain = plain_loop(jax.jit(blur), random_image(0), u=u, config=config)
        assert_equals_plain(refined(random_image(0), u, config=config), plain)


def test_equals_the_plain_loop_with_half_the_score() -> None:
    config = replace(CONFIG, ssim_score="half")
    plain = plain_loop(
        jax.jit(blur), random_image(0), u=0.15, config=config, score=partial(distance, half=True)
    )
    assert_equals_plain(refined(random_image(0), 0.15, config=config), plain)


def test_equals_the_plain_loop_with_scikit_images_ssim() -> None:
    plain = plain_loop(jax.jit(blur), random_image(0), u=0.6, config=CONFIG, score=distance_by_skimage)
    # scikit-image computes in float64, from which ours is up to 1e-4 away.
    assert_equals_plain(refined(random_image(0), 0.6, config=CONFIG), plain, margin=2e-4)


def test_a_network_and_a_batch_equal_the_plain_loop_too() -> None:
    config, inpaint = BOTH_BASES[1], jax.jit(NETWORK)
    batched = jax.jit(jax.vmap(partial(refine, NETWORK, u=0.7, config=config)))(SQUARE_IMAGES)
    for index, image in enumerate(SQUARE_IMAGES):
        plain = plain_loop(inpaint, image, u=0.7, config=config)
        # Masks are the same to the pixel, images but for rounding: a batch may add in another order.
        assert_equals_plain(refined(image, 0.7, config=config, inpaint=NETWORK), plain)
        assert_equals_plain(jax.tree.map(itemgetter(index), batched), plain)


@hypothesis.settings(max_examples=15, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    seed=strategies.integers(0, 10**6),
    u=strategies.floats(0.05, 1.2),
    config=strategies.sampled_from(BOTH_BASES),
)
def test_stopping_at_an_unchanged_mask_changes_nothing(seed: int, u: float, config: RefineConfig) -> None:
    plain = plain_loop(jax.jit(blur), random_image(seed), u=u, config=config)
    hypothesis.assume(plain.margin > MARGIN)
    result = refined(random_image(seed), u, config=config)
    assert_close(result.image, plain.images[-1])
    settled = (i for i, (a, b) in enumerate(itertools.pairwise(plain.masks)) if i and np.array_equal(a, b))
    assert result.iterations == next(settled, config.iterations)


@pytest.mark.parametrize("config", BOTH_BASES, ids=lambda config: config.base)
def test_stop_tolerance_leaves_the_state_where_the_mask_changed_little(config: RefineConfig) -> None:
    plain = plain_loop(jax.jit(blur), random_image(0), u=0.3, config=config)
    changes = [np.abs(a - b).sum() / a.sum() for a, b in itertools.pairwise(plain.masks)]
    last = next(i for i in range(1, len(changes)) if changes[i] <= 0.25)
    assert np.abs(plain.images[last] - plain.images[-1]).max() > 0.01
    result = refined(random_image(0), 0.3, config=replace(config, stop_tolerance=0.25))
    assert result.iterations == last
    assert_close(result.image, plain.images[last])
    np.testing.assert_array_equal(result.mask, plain.masks[last])


def test_batch_is_one_program_with_one_loop() -> None:
    calls = []

    def counted(masked: Any, mask: Any) -> Any:
        calls.append(masked.shape)
        return blur(masked, mask)

    def run(images: Any, u: Any) -> Any:
        return jax.vmap(lambda image: refine(counted, image, u=u, config=CONFIG).image)(images)

    jitted = jax.jit(run)
    for seed, u in ((0, 0.3), (1, 0.6)):
        jitted(np.stack([random_image(seed), random_image(seed + 1)]), u)
    assert len(calls) == 2  # when compiled: all four checkerboards at once, then the loop's body
    assert jitted.lower(np.stack([random_image(0)]), 0.3).as_text().count("stablehlo.while") == 1


def test_no_iteration_is_the_checkerboard_pass() -> None:
    result = refined(random_image(0), 0.3, config=replace(CONFIG, iterations=0))
    assert_close(result.image, checkerboard_pass(blur, jnp.asarray(random_image(0)), patches=4))
    assert (result.mask == 1).all()
    assert result.iterations == 0


def test_inpaint_sees_zeros_in_holes() -> None:
    def show(masked: Any, _: Any) -> Any:
        return masked

    result = refined(
        random_image(0), 0.9, config=replace(CONFIG, base="original", iterations=1), inpaint=show
    )
    assert 0 < result.mask.mean() < 1
    np.testing.assert_array_equal(result.image, random_image(0) * (1 - result.mask))
    assert not checkerboard_pass(show, jnp.asarray(random_image(0)), patches=4).any()


def test_checkerboard_pass_predicts_a_patch_from_other_patches() -> None:
    image, changed = random_image(0), random_image(0)
    changed[:6, :8] = -changed[:6, :8]  # one patch
    before, after = (checkerboard_pass(blur, jnp.asarray(x), patches=4) for x in (image, changed))
    np.testing.assert_array_equal(before[:6, :8], after[:6, :8])
    assert np.abs(before - after)[:6, 8:].max() > 0.01


@pytest.mark.parametrize("config", BOTH_BASES, ids=lambda config: config.base)
def test_trace_records_the_loop(config: RefineConfig) -> None:
    image = random_image(0)
    states, result = traced(image, 0.3, config=config), refined(image, 0.3, config=config)
    plain = plain_loop(jax.jit(blur), image, u=0.3, config=config)
    assert_close(states.images, plain.images)
    np.testing.assert_array_equal(states.masks, plain.masks)
    assert_close(states.scores, [distance(image, state) for state in plain.images])
    np.testing.assert_array_equal(states.masks[1:, ..., 0], states.scores[:-1] >= 0.3)
    assert_close(states.images[-1], result.image)
    np.testing.assert_array_equal(states.masks[-1], result.mask)


def test_shrinking_masks_are_nested() -> None:
    nested = {}
    for shrink in (False, True):
        masks = traced(random_image(0), 0.3, config=replace(CONFIG, shrink=shrink)).masks
        nested[shrink] = bool((np.diff(masks, axis=0) <= 0).all())
    assert nested == {False: False, True: True}


def test_u_of_zero_masks_everything() -> None:
    result = refined(random_image(0), 0.0, config=CONFIG)
    assert (result.mask == 1).all()
    assert (result.image == 0).all()  # what blurring no known pixel gives
    assert result.iterations == 1


def test_u_above_two_masks_nothing() -> None:
    first = checkerboard_pass(blur, jnp.asarray(random_image(0)), patches=4)
    for config, expected in zip(BOTH_BASES, (first, random_image(0)), strict=True):
        result = refined(random_image(0), 2.01, config=config)
        assert (result.mask == 0).all()
        assert_close(result.image, expected)
        assert result.iterations == 1


def test_perfect_inpainting_leaves_no_anomaly() -> None:
    image = random_image(0)
    states = traced(image, 0.01, config=CONFIG, inpaint=lambda *_: jnp.asarray(image))
    np.testing.assert_array_equal(states.images, np.broadcast_to(image, states.images.shape))
    np.testing.assert_allclose(states.scores, 0, rtol=0, atol=1e-4)
    assert (states.masks[1:] == 0).all()

"""The rule for u, anomaly maps and traces of I3AD, with a small generator of random weights."""

import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.inpainting.choose_u import U_CANDIDATES, ThresholdSettings
from i3ad_jax.inpainting.masks import NUM_CHECKERBOARDS
from i3ad_jax.inpainting.refine import Inpaint, LoopSettings, Trajectory
from i3ad_jax.methods.i3ad import I3AD, I3adSettings, I3adState, I3adTestSettings
from i3ad_jax.methods.inpainting_gan import GanState
from i3ad_jax.methods.method import Detail, Predicted, Queue, Tuned
from i3ad_jax.methods.segmentation_head import SegmenterSettings, SegmenterState
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.devices import copied_to
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.ssim import SsimSettings
from tests.support.random_weights import LARGEST_GAIN, random_weights
from tests.support.toy_inpainting import blur, random_image

TEST = I3adTestSettings(
    refine=LoopSettings(iterations=3, patches=4, base="original"),
    threshold=ThresholdSettings(u_iterations=2),
)
# The smaller of the two generators: programs of the loop around it compile in a third of the time.
METHOD = I3AD(
    I3adSettings(generator="context", context_width=4, latent_size=8),
    TEST,
    32,
    # Half scores: the rule's candidates then mask a part of these images, more of it at first.
    SsimSettings(ssim_score="half"),
    Throughput(),
)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
SQUARES = Squares.of_pixels(jnp.asarray(IMAGES))
U = {"u": 0.45}
# Two programs round differently: images, maps and scores then differ by up to 4e-7 with the
# instructions of SSE4.2, AVX2 and AVX-512, and by up to 8e-7 where one of them computes in other
# units.
TOLERANCE, TOLERANCE_OF_UNITS = 2e-6, 5e-6


@pytest.fixture(scope="module")
def state() -> I3adState:
    """Maps need the averaged generator alone."""
    shapes = jax.eval_shape(METHOD.init, jax.random.key(0)).gan.average
    return I3adState(GanState({}, random_weights(shapes, gain=LARGEST_GAIN), {}, {}, (), ()), None)


def trace(method: I3AD, state: I3adState, tuned: Tuned, squares: Squares) -> Trajectory:
    """The states as NumPy arrays, whose arithmetic has not to be compiled."""
    return jax.device_get(method.trace(state, tuned, squares, len(squares.images)))


def predict(method: I3AD, state: I3adState, tuned: Tuned, squares: Squares) -> Predicted:
    """Maps and reconstructions as NumPy arrays."""
    return jax.device_get(method.predict(state, tuned, squares, len(squares.images)))


def test_a_given_u_is_taken(state: I3adState) -> None:
    method = replace(METHOD, test=replace(TEST, threshold=ThresholdSettings(u=0.37)))
    assert method.tune(state, SQUARES, seed=0) == {"u": 0.37, "u_reason": "given by --u"}


def test_u_by_the_rule(state: I3adState) -> None:
    tuned = METHOD.tune(state, SQUARES, seed=0)
    assert json.loads(json.dumps(tuned)) == tuned
    errors = tuned["u_errors"]
    assert list(errors) == [f"{u:.2f}" for u in U_CANDIDATES["original"]]
    # No candidate comes near the tolerance: what is reconstructed has nothing to do with these
    # images.
    assert min(errors.values()) > 3 * METHOD.test.threshold.u_tolerance
    assert tuned["u"] == float(min(errors, key=errors.get)) == 0.5
    assert tuned["u_reason"].startswith("no u")
    after_u_iterations = trace(METHOD, state, U, SQUARES).images[:, 2]
    assert errors["0.45"] == pytest.approx(
        float(np.abs(after_u_iterations - IMAGES).mean()) / 2, rel=1e-5
    )


def test_maps_are_of_the_last_image_of_the_trace(state: I3adState) -> None:
    maps, reconstructions = predict(METHOD, state, U, SQUARES)
    states = trace(METHOD, state, U, SQUARES)
    assert set(maps) == {"l2", "ms_ssim", "ssim"}
    assert states.images.shape == (2, 4, 32, 32, 3)
    assert 0 < states.masks[:, -1].mean() < states.masks[:, 1].mean() < 1
    np.testing.assert_allclose(reconstructions, states.images[:, -1], rtol=0, atol=TOLERANCE)
    expected = ((states.images[:, -1] - IMAGES) ** 2).mean(axis=-1)
    np.testing.assert_allclose(maps["l2"], expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(maps["ssim"], states.scores[:, -1], rtol=0, atol=TOLERANCE)


def test_images_of_a_batch_do_not_touch_each_other(state: I3adState) -> None:
    other = IMAGES.copy()
    other[1] = 0
    maps, padded = (
        predict(METHOD, state, U, Squares.of_pixels(jnp.asarray(images))).maps
        for images in (IMAGES, other)
    )
    for name in maps:
        np.testing.assert_array_equal(maps[name][0], padded[name][0])


@pytest.mark.parametrize(
    ("base", "u"), [pytest.param("previous", 0.54, marks=pytest.mark.slow), ("original", 0.44)]
)
def test_the_fixed_loop_and_the_queue_agree(base: Any, u: float, state: I3adState) -> None:
    loop = replace(TEST.refine, base=base)
    queue, fixed = (
        replace(METHOD, test=replace(TEST, refine=loop, loop=kind)) for kind in ("queue", "fixed")
    )
    expected, found = (trace(method, state, {"u": u}, SQUARES) for method in (fixed, queue))
    assert np.abs(expected.scores - u).min() > 1e-5  # rounding decides no pixel of a mask
    assert 0 < expected.masks[:, -1].mean() < expected.masks[:, 1].mean() < 1
    np.testing.assert_array_equal(found.masks, expected.masks)
    np.testing.assert_allclose(found.images, expected.images, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=TOLERANCE)
    of_fixed, of_queue = (predict(method, state, {"u": u}, SQUARES) for method in (fixed, queue))
    np.testing.assert_allclose(
        of_fixed.reconstructions, expected.images[:, -1], rtol=0, atol=TOLERANCE
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE), of_queue, of_fixed
    )


@pytest.mark.parametrize(
    ("loop", "turns"), [("fixed", NUM_CHECKERBOARDS + 3), ("queue", NUM_CHECKERBOARDS)]
)
def test_only_the_fixed_loop_computes_steps_that_nothing_needs(
    loop: Any, turns: int, state: I3adState
) -> None:
    """With a u that masks no pixel nothing is left to inpaint after the checkerboard passes."""
    calls = []

    class Counting(I3AD):
        def inpaint(self, state: I3adState) -> Inpaint:  # noqa: ARG002 (it has no weights)
            def counted(image: Any, mask: Any) -> Any:
                jax.debug.callback(lambda: calls.append(None))
                return blur(image, mask)

            return counted

    test = replace(TEST, refine=replace(TEST.refine, base="previous"), loop=loop)
    method = Counting(METHOD.training, test, 32, METHOD.ssim, Throughput(test_batch_size=2))
    method.predict(state, {"u": 2.0}, SQUARES, 2)
    jax.effects_barrier()
    assert len(calls) == turns


class Blurring(I3AD):
    """I3AD with box means instead of its network."""

    def inpaint(self, state: I3adState) -> Inpaint:  # noqa: ARG002 (it has no weights)
        return blur


SCALE, CENTRE = 0.3, np.random.default_rng(1).uniform(-0.4, 0.4, (32, 32, 3)).astype(np.float32)


class BlurringInUnits(I3AD):
    """The same of pixel values, which box means are taken of in other units."""

    def inpaint(self, state: I3adState) -> Inpaint:  # noqa: ARG002 (it has no weights)
        return lambda masked, mask: (
            SCALE * blur((masked - CENTRE) / SCALE * (1 - mask), mask) + CENTRE
        )


@pytest.mark.parametrize("loop", ["queue", pytest.param("fixed", marks=pytest.mark.slow)])
def test_scores_masks_and_u_are_those_of_pixel_values(loop: Any, state: I3adState) -> None:
    options = replace(TEST, refine=replace(TEST.refine, base="previous"), loop=loop)
    arguments = METHOD.training, options, 32, METHOD.ssim, Throughput()
    pixels = jnp.asarray(np.stack([random_image(seed, (32, 32)) for seed in range(3)]))
    centre = jnp.broadcast_to(CENTRE, pixels.shape)
    squares = Squares((pixels - centre) / SCALE, centre, jnp.full(3, SCALE))
    of_pixels, in_units = BlurringInUnits(*arguments), Blurring(*arguments)
    plain, u = Squares.of_pixels(pixels), {"u": 0.52}
    expected, found = trace(of_pixels, state, u, plain), trace(in_units, state, u, squares)
    assert np.abs(expected.scores - u["u"]).min() > 1e-5  # rounding decides no pixel of a mask
    assert 0 < expected.masks[:, 1:].mean() < 1
    np.testing.assert_array_equal(found.masks, expected.masks)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=TOLERANCE_OF_UNITS)
    expected, found = predict(of_pixels, state, u, plain), predict(in_units, state, u, squares)
    for name, maps in found.maps.items():
        np.testing.assert_allclose(maps, expected.maps[name], rtol=0, atol=TOLERANCE_OF_UNITS)
    rebuilt = SCALE * found.reconstructions + CENTRE
    np.testing.assert_allclose(rebuilt, expected.reconstructions, rtol=0, atol=TOLERANCE)
    errors = [
        method.tune(state, given, seed=0)["u_errors"]
        for method, given in ((of_pixels, plain), (in_units, squares))
    ]
    assert errors[1] == pytest.approx(errors[0], rel=1e-4)


def with_segmenter(state: I3adState) -> tuple[I3AD, I3adState]:
    """A method with a segmentation network of random weights."""
    segmenter = SegmenterSettings(
        segmenter_width=4, segmenter_depth=2, segmenter_side=16, segmenter_levels=2
    )
    method = replace(METHOD, training=replace(METHOD.training, segmenter=segmenter))
    shapes: Any = jax.eval_shape(method.init, jax.random.key(0)).segmenter
    weights = random_weights(shapes.average)
    return method, replace(state, segmenter=SegmenterState({}, weights, ()))


def test_a_segmenter_gives_a_map_of_images_of_any_size(state: I3adState) -> None:
    method, state = with_segmenter(state)
    assert method.gives == {"segmentation"}
    assert method.detail(method.training) == Detail(side=16, levels=2, multiple=4)
    rng = np.random.default_rng(0)
    images, centre = rng.uniform(-1, 1, (2, 2, 20, 36, 3)).astype(np.float32)
    squares = Squares(jnp.asarray(images), jnp.asarray(centre), jnp.ones(2))
    maps = np.asarray(method.segmented(state, squares))
    assert maps.shape == (2, 20, 36)
    assert ((maps >= 0) & (maps <= 1)).all()
    assert maps.std() > 0.01
    for changed in (
        squares._replace(images=-squares.images),
        squares._replace(centre=squares.centre + 0.5),
    ):
        assert np.abs(method.segmented(state, changed) - maps).max(axis=(1, 2)).min() > 1e-3
    first = jax.tree.map(lambda x: x.at[1].set(0.5), squares)
    np.testing.assert_allclose(method.segmented(state, first)[0], maps[0], rtol=0, atol=TOLERANCE)


def test_a_segmenter_changes_no_map_of_squares(state: I3adState) -> None:
    method, own = with_segmenter(state)
    expected, found = predict(METHOD, state, U, SQUARES), predict(method, own, U, SQUARES)
    assert set(found.maps) == {"l2", "ms_ssim", "ssim"}
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_without_a_segmenter_there_is_none() -> None:
    assert METHOD.gives == frozenset()
    assert METHOD.detail(METHOD.training) is None
    assert METHOD.head is None
    assert jax.eval_shape(METHOD.init, jax.random.key(0)).segmenter is None


@pytest.mark.parametrize("loop", ["queue", "fixed"])
def test_the_test_time_program_moves_nothing_between_host_and_device(
    loop: Any, state: I3adState
) -> None:
    method = replace(METHOD, test=replace(TEST, loop=loop))
    arguments = copied_to(1, (state, method.parameters(U), SQUARES, jnp.int32(2)))

    @jax.jit
    def program(state: I3adState, u: Any, squares: Squares, count: Any) -> Any:
        queue = Queue(squares, count, 2)
        return method.examine(state, u, queue), method.trajectories(state, u, queue)

    with jax.transfer_guard("disallow"):
        predicted, states = jax.block_until_ready(program(*arguments))
        # the guard is awake
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            jax.jit(lambda x: x + 1)(IMAGES)
    assert set(predicted.maps) == {"l2", "ms_ssim", "ssim"}
    assert states.images.shape == (2, 4, 32, 32, 3)

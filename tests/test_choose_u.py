"""The paper's rule for u: on made-up error curves, and on images that a toy network inpaints."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.inpainting.choose_u import U_CANDIDATES, ThresholdSettings, choose_u
from i3ad_jax.inpainting.refine import Inpaint, LoopSettings, State, refine
from i3ad_jax.methods.i3ad import I3AD, I3adSettings, I3adState, I3adTestSettings
from i3ad_jax.methods.inpainting_gan import GanState
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.ssim import SsimSettings, ssim_anomaly
from tests.support.toy_inpainting import blur, random_image

CANDIDATES = [0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50]


def by_candidate(*errors: float) -> dict[float, float]:
    return dict(zip(CANDIDATES, errors, strict=True))


def test_takes_the_smallest_u_below_the_tolerance() -> None:
    errors = by_candidate(0.09, 0.08, 0.05, 0.03, 0.06, 0.02, 0.01, 0.01, 0.01)
    u, reason = choose_u(errors, tolerance=0.04)
    assert u == 0.25
    assert reason == "smallest u with an L1 error below 0.04: 0.03"


def test_an_error_at_the_tolerance_is_not_below_it() -> None:
    errors = by_candidate(0.5, 0.5, *[0.25] * 7)
    assert choose_u(errors, tolerance=0.5).u == 0.20


@pytest.mark.parametrize("best", CANDIDATES)
def test_takes_the_smallest_error_where_none_is_below_the_tolerance(best: float) -> None:
    u, reason = choose_u({u: abs(u - best) + 0.2 for u in CANDIDATES}, tolerance=0.1)
    assert u == best
    assert reason == "no u has an L1 error below 0.1; this one has the smallest, 0.2"


def test_takes_the_smallest_u_of_equal_errors() -> None:
    assert choose_u(dict.fromkeys(CANDIDATES, 0.3), tolerance=0.1).u == 0.10


class BlurringI3AD(I3AD):
    """I3AD with box means instead of its network."""

    def inpaint(self, state: I3adState) -> Inpaint:  # noqa: ARG002 (it has no weights)
        return blur


METHOD = BlurringI3AD(
    I3adSettings(),
    I3adTestSettings(
        refine=LoopSettings(patches=4), threshold=ThresholdSettings(u_iterations=3, u_images=4)
    ),
    32,
    SsimSettings(),
    Throughput(),
)
NO_STATE = I3adState(GanState({}, {}, {}, {}, (), ()), None)
ROUGH = np.stack([random_image(seed, (32, 32)) for seed in range(3)])


def errors_of(method: I3AD, images: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    return method.tune(NO_STATE, Squares.of_pixels(jnp.asarray(images)), seed=seed)["u_errors"]


def with_iterations(iterations: int) -> I3AD:
    loop = replace(METHOD.test.refine, iterations=iterations)
    return replace(METHOD, test=replace(METHOD.test, refine=loop))


def test_errors_are_those_of_the_loop_after_the_rules_iterations() -> None:
    found = errors_of(METHOD, ROUGH)
    assert list(found) == [f"{u:.2f}" for u in U_CANDIDATES["previous"]]
    three = replace(METHOD.test.refine, iterations=3)

    @jax.jit
    def refined(u: float) -> Any:
        def one(image: Any) -> State:
            return refine(blur, image, score=ssim_anomaly(image, METHOD.ssim), u=u, settings=three)

        return jax.vmap(one)(ROUGH).image

    for u in (0.1, 0.5, 1.0):
        expected = np.mean(np.abs(refined(u) - ROUGH)) / 2
        assert found[f"{u:.2f}"] == pytest.approx(float(expected), rel=1e-5)


def test_u_does_not_depend_on_the_iterations_of_the_loop() -> None:
    squares = Squares.of_pixels(jnp.asarray(ROUGH))
    never, often = (with_iterations(count).tune(NO_STATE, squares, seed=0) for count in (0, 30))
    assert never == often
    assert len({*never["u_errors"].values()}) > 5
    longer = replace(METHOD, test=replace(METHOD.test, threshold=ThresholdSettings(u_iterations=8)))
    assert errors_of(longer, ROUGH) != never["u_errors"]


def test_both_loops_give_the_rule_the_same_errors() -> None:
    expected = errors_of(METHOD, ROUGH)
    rule = replace(METHOD.test.threshold, u_tolerance=float(np.median([*expected.values()])))
    fixed = replace(METHOD, test=replace(METHOD.test, loop="fixed", threshold=rule))
    tuned = fixed.tune(NO_STATE, Squares.of_pixels(jnp.asarray(ROUGH)), seed=0)
    assert tuned["u_errors"] == pytest.approx(expected, rel=1e-5)
    below = [float(u) for u, error in tuned["u_errors"].items() if error < rule.u_tolerance]
    assert tuned["u"] == below[0] < 1


def test_the_rule_looks_at_a_random_sample() -> None:
    """The first 4 of 10 images are flat, all others alike: the error counts these among any 4."""
    flat, rough = np.full_like(ROUGH[0], 0.6), ROUGH[0]
    images = np.stack([flat] * 4 + [rough] * 6)
    easy, hard = (errors_of(METHOD, image[None])["0.50"] for image in (flat, rough))
    assert hard > 2 * easy

    def rough_ones(seed: int) -> float:
        return 4 * (errors_of(METHOD, images, seed=seed)["0.50"] - easy) / (hard - easy)

    counts = np.array([rough_ones(seed) for seed in range(12)])
    np.testing.assert_allclose(counts, np.round(counts), rtol=0, atol=1e-3)
    assert len({*np.round(counts)}) > 2
    assert counts.mean() == pytest.approx(4 * 6 / 10, abs=0.7)  # its standard deviation is 0.23
    assert rough_ones(3) == counts[3]


def test_a_sample_of_all_images_has_no_seed() -> None:
    assert errors_of(METHOD, ROUGH, seed=0) == errors_of(METHOD, ROUGH, seed=1)

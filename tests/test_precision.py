"""TF32's effect on scores, masks, u and verdicts, as a GPU has it and a CPU does not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import i3ad_jax
from i3ad_jax import Detector
from i3ad_jax.export.program import scoring_program
from i3ad_jax.inpainting.choose_u import U_CANDIDATES, choose_u
from i3ad_jax.inpainting.refine import refine
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.method import Queue
from i3ad_jax.preprocessing.scales import enlarge
from i3ad_jax.runtime.precision import TF32_ERROR, exact_products
from i3ad_jax.scoring.maps import image_scores
from i3ad_jax.scoring.ssim import ssim_with
from tests.conftest import RunOf
from tests.support.rounded import products, rounded, truncated

RNG = np.random.default_rng(0)


def pictures(folder: Path, detector: Detector) -> np.ndarray:
    """The test images in the working size."""
    files = sorted((folder / "test").rglob("*.png"))
    size = detector.preprocessing.size
    return detector.config.data.split_of(files, size=size).images[:]


@pytest.mark.parametrize("name", ["pca", "l2_ae", "i3ad"])
def test_scores_are_within_the_stated_error_and_verdicts_the_same(
    name: str, run_of: RunOf, tiny_folder: Path
) -> None:
    detector = Detector.load(run_of(name))
    program, images = scoring_program(detector), pictures(tiny_folder, detector)
    expected, found = jax.jit(program)(images), rounded(program, truncated)(images)
    for score, threshold in detector.calibration.thresholds.items():
        values, others = (np.asarray(x["scores"][score]) for x in (expected, found))
        error = np.abs(others - values) / np.maximum(np.abs(values), abs(threshold))
        assert error.max() <= TF32_ERROR, score
        sure = np.abs(values - threshold) > TF32_ERROR * np.maximum(np.abs(values), abs(threshold))
        assert sure.any()
        np.testing.assert_array_equal((others > threshold)[sure], (values > threshold)[sure])
        assert error.max() > 0 or name == "pca"  # which has no network


def test_masks_differ_only_where_a_score_is_close_to_u(tiny_run: Path, tiny_folder: Path) -> None:
    detector = Detector.load(tiny_run)
    images = pictures(tiny_folder, detector)
    squares = detector.preprocessing.squares(images, seed=0)
    queue = Queue(squares, jnp.int32(len(squares.images)), 4)
    u = 0.2  # in the middle of the scores: masks of all sizes

    def trace(squares: Any) -> Any:
        return detector.method.trajectories(
            detector.state, jnp.float32(u), queue._replace(squares=squares)
        )

    expected, found = jax.jit(trace)(squares), rounded(trace, truncated)(squares)
    assert 0 < np.mean(expected.masks[:, 1:]) < 1
    # The first mask by scores: later ones are of other images where it differs.
    differ = np.asarray(expected.masks[:, 1] != found.masks[:, 1])[..., 0]
    assert np.abs(np.asarray(expected.scores[:, 0])[differ] - u).max(initial=0) < TF32_ERROR * u
    assert differ.mean() < TF32_ERROR


def test_u_is_the_same(tiny_run: Path, tiny_folder: Path) -> None:
    detector = Detector.load(tiny_run)
    method = detector.method
    assert isinstance(method, I3AD)
    state: Any = detector.state
    images = pictures(tiny_folder, detector)[:2]
    squares, errors = detector.preprocessing.squares(images, seed=0), []
    candidates = U_CANDIDATES[method.test.refine.base]
    settings = replace(method.test.refine, iterations=method.test.threshold.u_iterations)

    def program(squares: Any) -> Any:
        inpaint = method.inpaint(state)

        def error(square: Any, u: Any) -> Any:
            score = method.anomaly_score(square)
            found = refine(inpaint, square.images, score=score, u=u, settings=settings).image
            return jnp.abs(square.pixels(found) - square.pixels(square.images)).mean() / 2

        each = jax.vmap(jax.vmap(error, (0, None)), (None, 0))
        return each(squares, jnp.array(candidates)).mean(axis=1)

    for function in (jax.jit(program), rounded(program, truncated)):
        errors.append(dict(zip(candidates, np.asarray(function(squares)).tolist(), strict=True)))
    expected, found = errors
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=TF32_ERROR)
    for tolerance in (0.01, float(np.median([*expected.values()])) * 1.1):
        assert choose_u(found, tolerance=tolerance).u == choose_u(expected, tolerance=tolerance).u


X = RNG.uniform(-1, 1, (32, 32, 3)).astype(np.float32)


def test_everything_outside_the_networks_is_exact(pca_run: Path, tiny_folder: Path) -> None:
    detector = Detector.load(pca_run)
    programs = {
        "pca": (scoring_program(detector), pictures(tiny_folder, detector)),
        "ssim": (lambda x: ssim_with(jnp.asarray(x))(x[::-1]), X),
        "gradient of ssim": (jax.grad(lambda x: ssim_with(jnp.asarray(X))(x).sum()), X),
        "peak": (lambda x: image_scores(x, "peak"), X),
        "enlarged": (lambda x: enlarge(x[None], (64, 64)), X),
    }
    for name, (program, images) in programs.items():
        found = [*products(jax.make_jaxpr(program)(images))]
        assert found, name
        assert all(product.precision is not None for product in found), name


def test_a_cpu_computes_exactly_anyway() -> None:
    a, b = X.reshape(32, 96), X.reshape(96, 32)
    plain = jax.jit(lambda a, b: a @ b)(a, b)
    with exact_products():
        exact = jax.jit(lambda a, b: a @ b)(a, b)
    np.testing.assert_array_equal(exact, plain)


def test_precision_is_chosen_in_one_module() -> None:
    """Another module takes `EXACT`, so that one docstring lists the products and the reasons.

    `cpu` is below it, and its products are those of CPUs.
    """
    package = Path(i3ad_jax.__file__).parent
    named = ("lax.Precision", "default_matmul_precision", 'precision="')
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(word in path.read_text() for word in named)
    }
    assert found == {"runtime/precision.py", "cpu/local_mean.py"}

"""The exported program for NVIDIA GPUs: read from its file, and computed by a CPU."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.export import Exported

from i3ad_jax import Detector
from i3ad_jax.export.parity import largest_difference
from i3ad_jax.export.program import scoring_program
from i3ad_jax.export.stablehlo import ALLOWED, PLATFORMS, StableHlo
from i3ad_jax.scoring.maps import PLAIN, SCORES
from tests.support.rounded import products

# What a file may leave to others: a check of shapes, and an operation of StableHLO itself.
CALLS = {"shape_assertion", "stablehlo.dynamic_reduce_window"}
PRODUCT = r'stablehlo\.(?:dot_general|convolution|dynamic_conv)"?\(? ?%.*'


@pytest.fixture(scope="module")
def detector(request: pytest.FixtureRequest, run_of: Callable[[str], Path]) -> Detector:
    return Detector.load(run_of(request.param))


@pytest.fixture(scope="module")
def program(detector: Detector) -> Exported:
    """The program in the file."""
    return export.deserialize(bytearray(StableHlo(detector).content))


def runs(*quick: str) -> pytest.MarkDecorator:
    """Runs to test, all but some of them in the slow tests."""
    marks = {name: () if name in quick else pytest.mark.slow for name in ("pca", "ssim_ae", "i3ad")}
    given = [pytest.param(name, marks=mark) for name, mark in marks.items()]
    return pytest.mark.parametrize("detector", given, indirect=True)


def dtypes(program: Exported) -> set[str]:
    """Return the types of all numbers in a program, by StableHLO's names."""
    return set(re.findall(r"tensor<(?:[\d?]+x)*(?:complex<)?(\w+)", program.mlir_module()))


def calls(program: Exported) -> set[str]:
    """Return the names of what a program calls outside of itself."""
    return set(re.findall(r"custom_call @([\w.]+)", program.mlir_module()))


@runs("pca", "i3ad")
def test_the_program_has_no_float64_and_no_calls_of_the_host(program: Exported) -> None:
    assert program.platforms == PLATFORMS == ("cpu", "cuda")
    # 64-bit integers are sizes: how many images there are.
    assert dtypes(program) == {"f32", "i1", "i32", "i64", "ui8"}
    assert calls(program) <= CALLS


def test_float64_and_calls_of_others_would_be_seen() -> None:
    with jax.enable_x64(True):
        numbers = jax.ShapeDtypeStruct((3, 3), np.float64)
        program = export.export(jax.jit(jnp.linalg.cholesky))(numbers)  # LAPACK's
    assert dtypes(program) >= {"f64"}
    assert calls(program) - CALLS


@runs("pca", "i3ad")
def test_products_have_the_precision_that_the_package_asks_for(
    detector: Detector, program: Exported
) -> None:
    """The products in `runtime.precision` are exact on every device; networks are not."""

    def sides(shape: Any) -> tuple[str, ...]:
        return tuple(str(side) if str(side).isdigit() else "?" for side in shape)

    number, *size = program.in_avals[0].shape
    images = jax.ShapeDtypeStruct((number, *size), jnp.uint8)
    traced = jax.make_jaxpr(scoring_program(detector))(images)
    expected = {
        (*map(sides, product.shapes), product.precision is not None) for product in products(traced)
    }
    found = set()
    for line in re.findall(PRODUCT, program.mlir_module()):
        shapes = re.findall(r"tensor<((?:[\d?]+x)*)f32>", line.rpartition(" : (")[2])
        a, b = (tuple(shape.split("x")[:-1]) for shape in shapes[:2])
        found.add((a, b, "HIGHEST" in line))
    assert found == expected
    assert {exact for *_, exact in found} == (
        {True} if detector.config.method == "pca" else {True, False}
    )


@runs("pca")
def test_the_branches_for_gpus_give_the_same_on_a_cpu(program: Exported) -> None:
    """The file has both kinds of branches; here the names of the platforms are exchanged."""
    for_gpus = replace(program, platforms=PLATFORMS[::-1])
    images = np.random.default_rng(0).integers(
        0, 256, (3, *program.in_avals[0].shape[1:]), np.uint8
    )
    compiled = {
        name: jax.jit(own.call).lower(images).compile()
        for name, own in (("cpu", program), ("cuda", for_gpus))
    }
    texts = {name: str(own.as_text()) for name, own in compiled.items()}
    # Each has its own branches alone, without a choice between them.
    for name, own, other in (("cpu", 0, 1), ("cuda", 1, 0)):
        assert f"branch_{own}_fun" in texts[name]
        assert f"branch_{other}_fun" not in texts[name]
        assert " conditional(" not in texts[name]
    expected, found = (compiled[name](images) for name in ("cpu", "cuda"))
    for name, own in expected["scores"].items():
        limit = ALLOWED.plain if SCORES[name] in PLAIN else ALLOWED.calibrated
        assert largest_difference(np.asarray(found["scores"][name]), np.asarray(own)) <= limit
        np.testing.assert_array_equal(found["anomalous"][name], expected["anomalous"][name])
        maps, others = (np.asarray(x["maps"][name]).ravel() for x in (found, expected))
        assert largest_difference(maps, others) <= 20 * limit

"""An exported program that says something else than its run is noticed."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax import Detector, InputError
from i3ad_jax.data.load import load_dataset
from i3ad_jax.export.parity import Differences, check_parity
from i3ad_jax.export.program import scoring_program
from tests.conftest import make_untrained_run

ALLOWED = Differences(plain=1e-5, calibrated=1e-3)


@pytest.fixture(scope="module")
def detector(pca_run: Path) -> Detector:
    return Detector.load(pca_run)


@pytest.fixture(scope="module")
def images(detector: Detector, tiny_folder: Path) -> np.ndarray:
    return load_dataset(
        str(tiny_folder), size=detector.preprocessing.size, aspect="stretch"
    ).test.images[:]


def changed(detector: Detector, change: Any) -> Any:
    """The detector's program, whose result `change` alters."""
    program = jax.jit(scoring_program(detector))
    return lambda images: change(program(images))


def test_a_program_that_says_the_same_passes_in_batches_of_any_size(
    detector: Detector, images: np.ndarray
) -> None:
    for batch in (1, 4, len(images)):
        found = check_parity(
            detector, changed(detector, lambda x: x), images, allowed=ALLOWED, batch=batch
        )
        assert found.images == len(images)
        assert found.allowed == ALLOWED
        for largest, limit in zip(found.largest, ALLOWED, strict=True):
            assert 0 < largest <= limit


def test_one_score_that_is_off_or_no_number_is_refused_by_its_name(
    detector: Detector, images: np.ndarray
) -> None:
    for by in (1e-3, np.nan):

        def change(found: Any, by: float = by) -> Any:
            found["scores"]["ssim"] = found["scores"]["ssim"].at[1].add(by)
            return found

        with pytest.raises(
            InputError, match=r"^--out: not written, .* ssim differs .* on 6 images; 1e-05 is"
        ):
            check_parity(detector, changed(detector, change), images, allowed=ALLOWED)


def test_another_verdict_is_refused(detector: Detector, images: np.ndarray) -> None:
    def change(found: Any) -> Any:
        found["anomalous"]["l2"] = jnp.logical_not(found["anomalous"]["l2"])
        return found

    with pytest.raises(InputError, match=r"a verdict by the program's l2 is not the run's$"):
        check_parity(detector, changed(detector, change), images, allowed=ALLOWED)


def test_a_program_sees_the_details_of_reduced_images(tmp_path: Path) -> None:
    small = {"generator": "context", "context_width": 2, "iterations": 1, "loop": "fixed"}
    make_untrained_run(tmp_path / "run", resolution=64, **small)
    detector = Detector.load(tmp_path / "run")
    seen = detector.preprocessing
    assert (seen.size, seen.side, seen.levels) == ((64, 64), 32, 2)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    found = jax.device_get(jax.jit(scoring_program(detector))(images))
    for row, prediction in enumerate(detector.score(images)):
        assert set(found["maps"]) == set(prediction.scores)
        for name, own in prediction.small_maps.items():
            np.testing.assert_allclose(found["maps"][name][row], own, rtol=0, atol=1e-4)
            assert found["scores"][name][row] == pytest.approx(prediction.scores[name], abs=1e-4)
    maps = found["maps"]["segmentation"]
    assert maps.shape == (3, 64, 64)
    assert maps.std() > 0

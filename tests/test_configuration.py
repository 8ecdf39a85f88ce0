"""JAX's options in the user's process: results do not depend on them, and they stay as they are."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax import AnomalyDetector, Detector, InputError, TrainingProgress
from i3ad_jax.methods.state import state_digest
from i3ad_jax.prediction import Prediction
from i3ad_jax.runtime.configuration import configuration, configured

IMAGE = Path("test/spot/0.png")
ENVIRONMENT = {
    "JAX_ENABLE_X64": "1",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_TRANSFER_GUARD": "disallow_explicit",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_DEBUG_NANS": "1",
    "JAX_DEBUG_INFS": "1",
    "JAX_DISABLE_JIT": "1",
}


def options(name: str) -> AbstractContextManager[Any]:
    """The options of a user who has set one that the package relies on, or all."""
    setters: dict[str, Any] = {
        "x64": lambda: jax.enable_x64(True),
        "rank": lambda: jax.numpy_rank_promotion("raise"),
        "dtype": lambda: jax.numpy_dtype_promotion("strict"),
        "guard": lambda: jax.transfer_guard("disallow_explicit"),
        "threefry": lambda: jax.threefry_partitionable(False),
        "prng": lambda: jax.default_prng_impl("rbg"),
        "jit": lambda: jax.disable_jit(True),
        "nans": lambda: jax.debug_nans(True),
        "infs": lambda: jax.debug_infs(True),
    }
    stack = ExitStack()
    for setter in setters.values() if name == "all" else [setters[name]]:
        stack.enter_context(setter())
    return stack


def values() -> dict[str, Any]:
    """Every option of JAX in this thread."""
    return dict(jax.config.values)


def assert_same(found: list[Prediction], expected: list[Prediction]) -> None:
    for own, other in zip(found, expected, strict=True):
        assert own.scores == other.scores
        np.testing.assert_array_equal(own.map, other.map)


@pytest.fixture(scope="module")
def expected(pca_run: Path, tiny_folder: Path) -> list[Prediction]:
    return Detector.load(pca_run).score(tiny_folder / IMAGE)


@pytest.mark.parametrize("name", ["x64", "rank", "dtype", "guard", "jit", "nans", "infs", "all"])
def test_scores_do_not_depend_on_the_user_s_options(
    name: str, pca_run: Path, tiny_folder: Path, expected: list[Prediction]
) -> None:
    with options(name):
        before = values()
        detector = Detector.load(pca_run)
        assert_same(detector.score(tiny_folder / IMAGE), expected)
        assert values() == before


def test_every_use_of_a_loop_gives_the_same(tiny_run: Path, tiny_folder: Path) -> None:
    image = tiny_folder / IMAGE
    detector = Detector.load(tiny_run)
    with options("all"):
        other = Detector.load(tiny_run)
        assert_same(other.score(image), detector.score(image))
        np.testing.assert_array_equal(other.reconstruct(image), detector.reconstruct(image))
        assert other.trace(image) == detector.trace(image)
        found = other.evaluate(tiny_folder)
    assert found == detector.evaluate(tiny_folder)


def _fit(folder: Path, run: Path | None = None, method: str = "pca", **settings: Any) -> Detector:
    return Detector.fit(
        folder, method=method, folder=run, image_size=32, view="whole", planted_images=4, **settings
    )


def test_training_saving_and_calibrating_again_give_the_same(
    tiny_folder: Path, tmp_path: Path
) -> None:
    plain = _fit(tiny_folder, components=3)
    with options("all"):
        detector = _fit(tiny_folder, tmp_path / "run", components=3)
        detector.save(tmp_path / "saved")
        again = detector.recalibrated(tiny_folder / "test/good", pooling="peak")
    assert state_digest(detector.state) == state_digest(plain.state)
    assert detector.calibration.thresholds == plain.calibration.thresholds
    assert Detector.load(tmp_path / "run").thresholds == plain.thresholds
    assert Detector.load(tmp_path / "saved").thresholds == plain.thresholds
    expected = plain.recalibrated(tiny_folder / "test/good", pooling="peak")
    assert again.thresholds == expected.thresholds


def test_an_estimator_gives_the_same(tiny_folder: Path) -> None:
    images = [tiny_folder / f"train/good/{i}.png" for i in range(8)]
    settings = {"method": "pca", "components": 3, "image_size": 32, "planted_images": 4}
    plain = AnomalyDetector(**settings).fit(images)
    with options("all"):
        estimator = AnomalyDetector(**settings).fit(images)
        np.testing.assert_array_equal(estimator.decision_function(images), plain.decision_scores_)
    assert estimator.threshold_ == plain.threshold_


def test_steps_and_callbacks_have_the_options_they_need(tiny_folder: Path) -> None:
    """The loop's seeds, its reader thread, and the callbacks between its steps."""
    settings = {"method": "l2_ae", "steps": 3, "batch_size": 3, "width": 2}
    dtypes, calibrated = [], []

    def watch(progress: TrainingProgress) -> None:
        dtypes.append(jnp.arange(3.0).dtype)
        calibrated.append(progress.detector().thresholds)

    plain = _fit(tiny_folder, **settings)
    random = jax.default_prng_impl("rbg"), jax.threefry_partitionable(False)
    with random[0], random[1], jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        detector = _fit(tiny_folder, callbacks=[watch], **settings)
    assert state_digest(detector.state) == state_digest(plain.state)
    assert {str(dtype) for dtype in dtypes} == {"float64"}
    assert calibrated[-1] == detector.thresholds


def test_images_that_are_computed_have_the_user_s_options(
    pca_run: Path, tiny_folder: Path, expected: list[Prediction]
) -> None:
    detector, dtypes = Detector.load(pca_run), []

    def images() -> Iterator[Path]:
        for _ in range(3 * detector.chunk):
            dtypes.append(jnp.arange(3.0).dtype)
            yield tiny_folder / IMAGE

    with jax.enable_x64(True):
        before = values()
        stream = detector.stream(images())
        assert_same([next(stream)], expected)
        assert values() == before
        del stream
        assert values() == before
    assert {str(dtype) for dtype in dtypes} == {"float64"}


def test_options_are_the_user_s_again_after_an_error(pca_run: Path, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(b"nothing")
    with options("all"):
        before = values()
        detector = Detector.load(pca_run)
        with pytest.raises(InputError, match=r"image\.png"):
            detector.score(tmp_path / "image.png")
        with pytest.raises(InputError, match="missing"):
            Detector.load(tmp_path / "missing")
        assert values() == before


def test_a_generator_is_closed_with_the_options() -> None:
    seen = []

    @configured
    def steps() -> Iterator[bool]:
        try:
            while True:
                yield bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
        finally:
            seen.append(jnp.arange(3.0).dtype)

    with jax.enable_x64(True):
        running = steps()
        assert next(running) is False
        assert jnp.arange(3.0).dtype == np.float64
        del running
        assert jnp.arange(3.0).dtype == np.float64
    assert seen == [np.float32]


def test_nothing_is_compiled_again_where_the_options_are_right(compiled: list[str]) -> None:
    function = jax.jit(lambda x: x + 17)
    function(1.0)
    before = len(compiled)
    with configuration():
        function(1.0)
    assert len(compiled) == before


def test_a_command_gives_the_same_scores(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, expected: list[Prediction]
) -> None:
    command = [sys.executable, "-m", "i3ad_jax", "predict", pca_run, tiny_folder / IMAGE]
    done = subprocess.run(
        [*command, "--out", tmp_path, "--save", "scores"],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as table:
        (found,) = csv.DictReader(table)
    for name, score in expected[0].scores.items():
        assert float(found[name]) == pytest.approx(score, rel=1e-4)  # optimised otherwise


MESH = """
import sys
import jax
from i3ad_jax import Detector

mesh = jax.make_mesh((2,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,))
with jax.set_mesh(mesh):
    print(Detector.load(sys.argv[1]).score(sys.argv[2] + "/test/good")[2].score)
    assert jax.sharding.get_abstract_mesh() == mesh.abstract_mesh
"""


def test_scores_do_not_depend_on_the_user_s_mesh(pca_run: Path, tiny_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MESH, pca_run, tiny_folder],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = Detector.load(pca_run).score(tiny_folder / "test/good/2.png")[0].score
    assert float(done.stdout) == pytest.approx(expected, rel=1e-4)


PROCESSES = """
import multiprocessing, sys
from i3ad_jax import Detector, InputError

def score(*arguments):
    try:
        print(Detector.load(sys.argv[1]).score(sys.argv[2])[0].score, flush=True)
    except InputError as error:
        print(error, flush=True)

def score_in(method):
    child = multiprocessing.get_context(method).Process(target=score)
    child.start()
    child.join(30)
    assert child.exitcode == 0, child.exitcode

if __name__ == "__main__":
"""


def processes(script: str, folder: Path, *arguments: Path) -> list[str]:
    """Print of a script that begins with `PROCESSES`, line by line."""
    (folder / "script.py").write_text(PROCESSES + script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", folder / "script.py", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_is_refused_in_one_line_only_after_jax_was_used(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    script = "    score_in('fork')\n    score()\n    score_in('fork')\n"
    before, own, after = processes(script, tmp_path, pca_run, tiny_folder / IMAGE)
    assert before == own
    assert "fork" in after
    assert '"spawn"' in after


@pytest.mark.slow
def test_a_spawned_process_scores(pca_run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    script = "    score()\n    score_in('spawn')\n"
    own, child = processes(script, tmp_path, pca_run, tiny_folder / IMAGE)
    assert own == child

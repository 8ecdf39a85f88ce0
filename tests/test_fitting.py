"""Tests that do not fit in memory, with an allocator that refuses: half as many at a time."""

import json
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.detector import Detector
from i3ad_jax.errors import OutOfMemoryError, SmallerBatchWarning
from i3ad_jax.methods.fitting import within_memory
from i3ad_jax.methods.method import Method
from i3ad_jax.runtime.throughput import Throughput

# Scores images in a queue whose arrays have 384 MiB each, where the process may take 512 MiB more.
SCORES = """
import json, resource, sys, warnings
from pathlib import Path
import numpy as np
from i3ad_jax.detector import Detector
run, folder, queue = *sys.argv[1:3], int(sys.argv[3])
detector = Detector.load(run)
config = detector.plan.asked.with_settings({"queue_size": queue, "test_batch_size": 8})
detector = type(detector)(detector.plan.with_asked(config), detector.state, detector.calibration)
small = [each.scores for each in Detector.load(run).score(folder)]
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    scores = [each.scores for each in detector.score(folder)]
print(json.dumps({"small": small, "scores": scores, "lines": [str(w.message) for w in caught]}))
"""


def method_for(run: Path, **throughput: int) -> Method:
    """A method that no other test has, as settings that fitted are kept."""
    return replace(Detector.load(run).method, throughput=Throughput(**throughput))


def exhaust() -> None:
    jnp.zeros((2**22, 2**20)).block_until_ready()


def test_half_as_many_images_until_they_fit(pca_run: Path) -> None:
    method, seen = method_for(pca_run, test_batch_size=9, queue_size=101), []

    def work(own: Method) -> int:
        seen.append(own.throughput)
        if own.throughput.test_batch_size > 2:
            exhaust()
        return 7

    with pytest.warns(SmallerBatchWarning) as caught:
        assert within_memory(method, work) == 7
    assert [(each.test_batch_size, each.queue_size) for each in seen] == [
        (9, 101),
        (4, 50),
        (2, 25),
    ]
    assert [str(each.message) for each in caught] == [
        "out of memory with --test-batch-size 9 --queue-size 101; continuing with"
        " --test-batch-size 4 --queue-size 50, which changes speed, not results",
        "out of memory with --test-batch-size 4 --queue-size 50; continuing with"
        " --test-batch-size 2 --queue-size 25, which changes speed, not results",
    ]
    assert within_memory(method, work) == 7  # at once, without a warning
    assert seen[3:] == seen[2:3]


def test_the_failed_call_s_arrays_are_freed_first(pca_run: Path) -> None:
    held: list[weakref.ref[jax.Array]] = []

    def work(own: Method) -> int:
        assert all(array() is None for array in held)
        array = jnp.ones(own.throughput.queue_size)
        held.append(weakref.ref(array))
        if len(held) == 1:
            exhaust()
        return len(held)

    with pytest.warns(SmallerBatchWarning):
        assert within_memory(method_for(pca_run, test_batch_size=3, queue_size=103), work) == 2


def test_one_image_at_a_time_is_the_last_try(pca_run: Path) -> None:
    with (
        pytest.warns(SmallerBatchWarning) as caught,
        pytest.raises(OutOfMemoryError, match="with --test-batch-size 1 --queue-size 1; end other"),
    ):
        within_memory(method_for(pca_run, test_batch_size=2, queue_size=5), lambda _: exhaust())
    assert len(caught) == 2


def test_other_errors_are_not_tried_again(pca_run: Path) -> None:
    calls = []

    def work(_: Method) -> None:
        calls.append(1)
        jax.jit(lambda: jax.pure_callback(lambda: 1 / 0, jnp.float32(0)))().block_until_ready()

    with pytest.raises(jax.errors.JaxRuntimeError, match="division by zero"):
        within_memory(method_for(pca_run, test_batch_size=2, queue_size=107), work)
    assert len(calls) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
def test_scores_are_the_same_where_the_allocator_refuses(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCORES, pca_run, tiny_folder / "test/good", "32768"],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["lines"]
    assert all(line.startswith("out of memory with --test-batch-size") for line in found["lines"])
    for one, other in zip(found["small"], found["scores"], strict=True):
        assert one.keys() == other.keys()
        # Programs of another size round otherwise, and calibrated scores magnify that.
        np.testing.assert_allclose([*one.values()], [*other.values()], rtol=1e-3)

"""The plan of the GPU measurements, and the command at the smallest sizes without a GPU."""

import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[test-all]'")
from benchmarks import gpu  # noqa: E402  (it needs torch)
from benchmarks.gpu import Table, compare, measure, plan, verdicts  # noqa: E402
from benchmarks.gpu_variants import (  # noqa: E402
    CEILINGS,
    COMMAND_BUFFERS,
    DTYPES,
    FIXED,
    Ceilings,
    Found,
    Task,
)
from benchmarks.precision import PRECISIONS, arithmetic  # noqa: E402
from benchmarks.subject import EAGER, TORCH_WAYS  # noqa: E402
from benchmarks.turns import Turns  # noqa: E402
from i3ad_jax.errors import InputError  # noqa: E402

pytestmark = pytest.mark.slow

FAST, SMALL, UNBEGUN = (Task("loop", "JAX", FIXED, "bfloat16", batch) for batch in (64, 1, 16))


def test_plan_has_everything_once_the_most_telling_first() -> None:
    tasks = plan(exits=True, dry_run=False)
    assert tasks[0] == CEILINGS
    assert [(x.framework, x.variant) for x in tasks[1:5]] == [
        ("JAX", FIXED),
        *(("PyTorch", name) for name in TORCH_WAYS),
    ]
    assert {x.dtype for x in tasks[:20]} == {"float32", "bfloat16"}
    loops = [x for x in tasks if x.work == "loop"]
    assert {(x.dtype, x.batch, x.variant) for x in loops} == {
        *((dtype, batch, x) for dtype in DTYPES for batch in gpu.BATCHES for x in TORCH_WAYS),
        *((dtype, batch, FIXED) for dtype in DTYPES for batch in gpu.BATCHES),
        *((dtype, 1, COMMAND_BUFFERS) for dtype in DTYPES),
    }
    training = {(x.dtype, x.framework, x.batch) for x in tasks if x.work == "training"}
    assert training == {(x, name, 10) for x in DTYPES for name in ("JAX", "PyTorch")}
    assert len(set(tasks)) == len(tasks)
    assert plan(exits=False, dry_run=False) == [x for x in tasks if x.work != "early exit"]


def made_up(task: Task) -> Generator[Any, Any, None]:
    """Steps of a task without its work."""
    yield
    if task == CEILINGS:
        yield Found(ceilings=Ceilings({"bfloat16": 2.0}, 3.0, np.zeros(1)))
    elif task == SMALL:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")
    else:
        yield Found({"seconds_per_image": 0.5})
        yield Found(kernels=[{"kernel": "all"}])


def test_rows_are_written_as_they_come_failures_and_late_ones_are_named(tmp_path: Path) -> None:
    table, until = Table(tmp_path, dry_run=True), time.monotonic() + 300
    with Turns(made_up, workers=2) as turns:
        turns.prepare([CEILINGS, FAST, SMALL], until=until)
        measure([CEILINGS, FAST], turns, table, until=until)
        (row,) = json.loads((tmp_path / "gpu.json").read_text())
        assert (row["seconds_per_image"], row["batch"]) == (0.5, 64)
        measure([SMALL, UNBEGUN], turns, table, until=until)
    _, failed = json.loads((tmp_path / "gpu.json").read_text())
    assert (failed["batch"], failed["problem"]) == (1, "CUDA out of memory.")
    (kernel,) = json.loads((tmp_path / "gpu_kernels.json").read_text())
    assert (kernel["kernel"], kernel["batch"]) == ("all", 64)
    text = (tmp_path / "gpu.md").read_text()
    assert f"- late: {UNBEGUN}\n" in text
    assert "- copy_bytes_per_second: 3.0\n" in text


def test_float32_is_float32_and_tf32_is_tf32() -> None:
    def seen(dtype: str) -> tuple[bool, bool, str]:
        x = jax.ShapeDtypeStruct((2, 2), "float32")
        with arithmetic(dtype):
            both = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
            return *both, jax.jit(lambda x: x @ x).lower(x).as_text()

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    found = {dtype: seen(dtype) for dtype in PRECISIONS}
    assert {dtype: both[:2] for dtype, both in found.items()} == {
        "bfloat16": (False, False),
        "tf32": (True, True),
        "float32": (False, False),
    }
    assert "HIGHEST" in found["float32"][2]
    assert "HIGHEST" not in found["tf32"][2]
    assert "HIGH" in found["tf32"][2]
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    with pytest.raises(KeyError), arithmetic("float16"):
        pass


def test_verdicts_and_ratios() -> None:
    assert set(verdicts([]).values()) == {"not measured"}
    of_loop = {"work": "loop", "dtype": "bfloat16", "batch": 64}
    theirs = {"framework": "PyTorch", "variant": EAGER}
    of_training = {"work": "training", "dtype": "tf32", "batch": 10}
    rows = [
        {**of_loop, "framework": "JAX", "seconds_per_image": 0.008, "times_floor": 1.4},
        {**of_loop, "framework": "JAX", "seconds_per_image": 0.009, "times_floor": 1.6},
        {**of_loop, "framework": "JAX", "problem": "out of memory"},
        {**of_loop, **theirs, "seconds_per_image": 0.01},
        {**of_loop, **theirs, "batch": 1, "seconds_per_image": 0.016},
        {
            **{**of_loop, "work": "early exit", "framework": "JAX", "seconds_per_image": 0.001},
            "times_as_fast_as_fixed": 8.0,
        },
        {**of_training, "framework": "JAX", "steps_per_second": 30.0},
        {**of_training, **theirs, "steps_per_second": 40.0},
        {**of_training, **theirs, "steps_per_second": 20.0},
    ]
    assert list(verdicts(rows).values()) == [
        *("1.4, pass", "1.25, miss", "8, pass", "not measured", "0.75, miss"),
    ]
    compare(rows)
    ratios = [row.get("ratio_to_best_torch") for row in rows]
    assert ratios == pytest.approx([1.25, 1 / 0.9, None, 1, 1, 10, 0.75, 1, 0.5])


def test_a_machine_without_a_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="--dry-run does without"):
        gpu.main(["--out", str(tmp_path)])


@pytest.mark.slow
def test_dry_run(tmp_path: Path, untrained_run: Path) -> None:
    flags = ["--dry-run", "--run", str(untrained_run), "--minutes", "60"]
    gpu.main([*flags, "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "gpu.json").read_text())
    assert [row for row in rows if "problem" in row] == []
    assert {row["work"] for row in rows} == {"loop", "early exit", "training"}
    ways = {row["variant"] for row in rows if (row["work"], row["dtype"]) == ("loop", "bfloat16")}
    assert {FIXED, COMMAND_BUFFERS, EAGER, "compile, channels_last"} <= ways
    assert {FIXED + gpu.ALONE, COMMAND_BUFFERS + gpu.ALONE} & ways
    assert {row["dtype"] for row in rows} == set(DTYPES)
    for row in rows:
        if row["framework"] == "JAX" and row["work"] != "early exit":
            assert row["times_floor"] > 0
            assert row["fraction_of_matmul_rate"] > 0
    assert "- late: nothing" in (tmp_path / "gpu.md").read_text()
    kernels = json.loads((tmp_path / "gpu_kernels.json").read_text())
    assert {row["work"] for row in kernels} == {"loop", "training"}
    assert all(0 <= row["share"] <= 1 for row in kernels)

"""The plan of the GPU measurements, and the command at the smallest sizes without a GPU."""

import json
from pathlib import Path

import jax
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[test-all]'")
from benchmarks import gpu  # noqa: E402  (it needs torch)
from benchmarks.gpu import Job, attempt, carry_out, plan, verdicts  # noqa: E402
from benchmarks.precision import PRECISIONS, arithmetic  # noqa: E402
from i3ad_jax.errors import InputError  # noqa: E402

pytestmark = pytest.mark.slow

JOBS = [Job("loop", "tf32", batch) for batch in (1, 2, 3)]


def test_plan_has_everything_once_and_what_the_targets_are_about_first() -> None:
    jobs = plan((64, 16, 256), exits=True)
    assert jobs[:3] == [Job("loop", "bfloat16", batch) for batch in (64, 16, 256)]
    assert [job.work for job in jobs[3:7]] == ["early exit"] * 4
    assert jobs[9:11] == [Job("training, quick", "tf32", 4), Job("training, paper", "tf32", 10)]
    loops = {(job.dtype, job.batch) for job in jobs if job.work == "loop"}
    assert loops == {(dtype, batch) for dtype in PRECISIONS for batch in (64, 16, 256)}
    assert len(set(jobs)) == len(jobs)
    assert plan((64, 16, 256), exits=False) == [job for job in jobs if job.work != "early exit"]


def test_nothing_is_begun_after_the_end_and_rows_are_saved_as_they_come() -> None:
    saved = []
    rows, skipped = carry_out(
        JOBS,
        lambda _: [{"seconds_per_image": 1.0}],
        is_over=lambda: len(saved) == 2,
        save=lambda *both: saved.append(both),
    )
    assert skipped == JOBS[2:]
    assert [row["batch"] for row in rows] == [1, 2]
    assert [len(left) for _, left in saved] == [2, 1]


def test_what_fails_is_a_row_with_the_reason() -> None:
    def measure(job: Job) -> list[gpu.Row]:
        if job.batch == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate | 20 GiB")
        return [{}]

    rows, skipped = carry_out(JOBS, measure, is_over=lambda: False, save=lambda *_: None)
    problem = {"work": "loop", "problem": "CUDA out of memory.", "dtype": "tf32", "batch": 2}
    assert rows[1] == problem
    assert (len(rows), skipped) == (3, [])


def test_float32_is_float32_and_tf32_is_tf32() -> None:
    def seen(_: Job) -> list[gpu.Row]:
        both = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        x = jax.ShapeDtypeStruct((2, 2), "float32")
        return [{"torch": both, "jax": jax.jit(lambda x: x @ x).lower(x).as_text()}]

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    rows = {dtype: attempt(Job("loop", dtype, 1), seen)[0] for dtype in PRECISIONS}
    assert [rows[dtype]["torch"][0] for dtype in ("bfloat16", "tf32", "float32")] == [
        False,
        True,
        False,
    ]
    assert all(row["torch"][0] == row["torch"][1] for row in rows.values())
    assert "HIGHEST" in rows["float32"]["jax"]
    assert "HIGHEST" not in rows["tf32"]["jax"]
    assert "HIGH" in rows["tf32"]["jax"]
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    with pytest.raises(KeyError), arithmetic("float16"):
        pass


def test_verdicts() -> None:
    assert set(verdicts([]).values()) == {"not measured"}
    of_ours = {"work": "loop", "dtype": "bfloat16", "framework": "JAX", "variant": "fixed"}
    rows = [
        {**of_ours, "seconds_per_image": 0.009},
        {**of_ours, "seconds_per_image": 0.008},
        {**of_ours, "problem": "out of memory"},
        {**of_ours, "framework": "PyTorch", "variant": "eager", "seconds_per_image": 0.01},
        {
            "work": "early exit",
            "dtype": "bfloat16",
            "seconds_per_image": 0.001,
            "times_as_fast_as_fixed": 8.0,
        },
    ]
    assert list(verdicts(rows).values()) == ["0.008, pass", "1.25, miss", "8, pass"]


def test_a_machine_without_a_gpu(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="--dry-run does without"):
        gpu.main(["--out", str(tmp_path)])


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:::torch\.")  # its compiler does what PyTorch warns of
def test_dry_run(tmp_path: Path, untrained_run: Path) -> None:
    gpu.main(["--dry-run", "--run", str(untrained_run), "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "gpu.json").read_text())
    assert [row for row in rows if "problem" in row] == []
    works = {row["work"] for row in rows}
    assert works == {"loop", "early exit", "training, quick", "training, paper"}
    ways = {row["variant"] for row in rows if (row["work"], row["dtype"]) == ("loop", "bfloat16")}
    assert ways == {"fixed", *gpu.TORCH_WAYS}
    assert {row["dtype"] for row in rows} == set(PRECISIONS)
    assert "- skipped: nothing" in (tmp_path / "gpu.md").read_text()

"""The programs for a GPU: figures that must not grow, and what must not be in them."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.gpu_program import Job, compile_for, efficiencies
from i3ad_jax.errors import InputError

PLUGIN = find_spec("jax_cuda13_plugin")


@pytest.mark.slow
@pytest.mark.skipif(PLUGIN is not None, reason="the plug-in is there")
def test_without_the_plug_in_a_line_names_it() -> None:
    with pytest.raises(InputError, match=r"pip install 'jax\[cuda13\]'"):
        compile_for(Job("quick", "loop", "tf32", 1, "h200"))


def test_efficiencies_compare_with_one_card() -> None:
    def row(batch: int, cards: int, milliseconds: float) -> dict[str, object]:
        job = Job("paper", "train", "tf32", batch, "h200", cards)
        return {**job._asdict(), "floor_ms_per_image": milliseconds / (batch * cards)}

    # A step of 8 images takes 10 ms on a card and 12 ms on each of four; one of 32 takes 36 ms.
    rows = [row(8, 1, 10.0), row(32, 1, 36.0), row(8, 4, 12.0)]
    found = efficiencies(rows[-1], rows)
    assert found == pytest.approx({"weak": 10 / 12, "strong": 36 / (4 * 12)})
    assert efficiencies(rows[0], rows) == {}
    assert efficiencies(rows[-1], rows[1:]).keys() == {"strong"}


# Of a pass of the loop at batch 64, and of a training step at batch 8: measured figures and 2 %.
MOST = {"loop": (64, 121, 22.6 * 2**30), "train": (8, 901, 12.5 * 2**30)}


@pytest.mark.slow
@pytest.mark.skipif(PLUGIN is None, reason="pip install 'jax[cuda13]'")
@pytest.mark.parametrize("work", MOST)
def test_figures_do_not_grow(work: str, tmp_path: Path) -> None:
    batch, kernels, moved = MOST[work]
    flags = ["--work", work, "--batch", str(batch), "--dtype", "bfloat16", "--card", "h200"]
    command = [sys.executable, "-m", "benchmarks.gpu_program", *flags]
    result = subprocess.run(
        [*command, "--json", "--out", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    row = json.loads(result.stdout)
    assert row["kernels"] <= kernels
    assert row["bytes"] <= moved
    assert row["float64"] == row["host_callbacks"] == 0


@pytest.mark.slow
@pytest.mark.skipif(PLUGIN is None, reason="pip install 'jax[cuda13]'")
@pytest.mark.parametrize("work", MOST)
def test_eight_cards_exchange_sums_of_gradients_alone(work: str, tmp_path: Path) -> None:
    flags = ["--preset", "quick", "--work", work, "--batch", "2", "--dtype", "tf32"]
    several = ["--card", "h200", "--cards", "8", "--json", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.gpu_program", *flags, *several]
    row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert {each["kind"] for each in row["exchanges"]} <= {"all-reduce"}
    assert bool(row["exchanges"]) == (work == "train")

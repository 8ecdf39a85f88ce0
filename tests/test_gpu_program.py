"""The programs for a GPU: figures that must not grow, and what must not be in them."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.gpu_program import Job, compile_for
from i3ad_jax.errors import InputError

pytestmark = pytest.mark.slow
PLUGIN = find_spec("jax_cuda13_plugin")


@pytest.mark.skipif(PLUGIN is not None, reason="the plug-in is there")
def test_without_the_plug_in_a_line_names_it() -> None:
    with pytest.raises(InputError, match=r"pip install 'jax\[cuda13\]'"):
        compile_for(Job("quick", "loop", "tf32", 1, "h200"))


# Of a pass of the loop at batch 64, and of a training step at batch 8: measured figures and 2 %.
MOST = {"loop": (64, 121, 22.6 * 2**30), "train": (8, 942, 12.5 * 2**30)}


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

"""The programs for a GPU: figures that must not grow, and what must not be in them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_program", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(find_spec("jax_cuda13_plugin") is not None, reason="the plug-in is there")
def test_without_the_plug_in_a_line_names_it(tmp_path: Path) -> None:
    result = run("--out", str(tmp_path))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install 'jax[cuda13]'" in result.stderr

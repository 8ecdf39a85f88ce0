"""The public interface has types: a strict checker accepts its use and refuses its misuse."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CONSUMER = ROOT / "tests" / "support" / "consumer.py"
# Why two rules are off is in pyproject.toml.
STRICT = "# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false\n"
PACKAGES = ("inpainting", "methods", "training")
MODULES = ("__init__", "callbacks", "detector", "estimator", "evaluation", "inference", "plan")
MISUSE = """\
from i3ad_jax import Detector

Detector.fit("data", devices="two")
detector = Detector.load("run")
detector.score("images")[0].score.upper()
detector.with_rule(threshold="high")
detector.evaluate("data").metrik("image_auroc")
for region in detector.score("images")[0].regions:
    region.colour
"""


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Findings of pyright's strict check of each file: both at once, as it starts slowly."""
    if find_spec("pyright") is None:
        pytest.skip("needs pyright, which comes with the extra dev")
    folder = tmp_path_factory.mktemp("typing")
    shutil.copy(CONSUMER, folder / "use.py")
    (folder / "misuse.py").write_text(MISUSE)
    (folder / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT)]})
    )
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(folder)]
    ran = subprocess.run(
        [*command, "--pythonpath", sys.executable], stdout=subprocess.PIPE, check=False
    )
    found: dict[str, list[dict[str, Any]]] = {"use.py": [], "misuse.py": []}
    for problem in json.loads(ran.stdout)["generalDiagnostics"]:
        found[Path(problem["file"]).name].append(problem)
    return found


def test_a_strict_checker_accepts_the_use_of_the_public_interface(errors: Any) -> None:
    assert [problem["message"] for problem in errors["use.py"]] == []


def test_it_refuses_every_misuse(errors: Any) -> None:
    lines = MISUSE.splitlines()
    refused = {lines[problem["range"]["start"]["line"]] for problem in errors["misuse.py"]}
    assert refused == {
        line for line in lines if line.startswith(("Detector.", "detector.", "    "))
    }


def test_the_core_and_the_public_interface_are_checked_strictly() -> None:
    package = ROOT / "i3ad_jax"
    files = [file for name in PACKAGES for file in (package / name).glob("*.py")]
    files += [package / f"{name}.py" for name in (*MODULES, "prediction")]
    assert [file for file in files if not file.read_text().startswith(STRICT)] == []

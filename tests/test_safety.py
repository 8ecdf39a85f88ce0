"""Nothing in the code runs what data says: no pickle, no eval, no shell.

import-linter keeps pickle out of the package too, by its graph of imports; this reads the source,
so it sees calls and their arguments, and the experiments and benchmarks as well.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file
    for name in ("i3ad_jax", "experiments", "benchmarks")
    for file in (ROOT / name).rglob("*.py")
)
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal"}
NAMES = {
    *("eval", "exec", "compile"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("joblib.load", "pandas.read_pickle", "tempfile.mktemp"),
}
IMPORTERS = {"__import__", "importlib.import_module"}


def unsafe(source: str) -> list[str]:
    """The parts of a module's source that must not be there."""
    tree = ast.parse(source)
    full = _imported(tree)
    return [ast.unparse(node) for node in ast.walk(tree) if _is_unsafe(node, full)]


def _imported(tree: ast.Module) -> dict[str, str]:
    """The full name of each name that the module imports."""
    full = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                full |= {name.asname: name.name for name in node.names if name.asname}
            case ast.ImportFrom(module=str() as module, level=0):
                full |= {name.asname or name.name: f"{module}.{name.name}" for name in node.names}
    return full


def _is_unsafe(node: ast.AST, full: dict[str, str]) -> bool:
    match node:
        case ast.Import():
            return any(_is_module(name.name) for name in node.names)
        case ast.ImportFrom(module=str() as module, level=0):
            return _is_module(module) or any(
                f"{module}.{name.name}" in NAMES for name in node.names
            )
        case ast.Name() | ast.Attribute():
            return _name(node, full) in NAMES
        case ast.Call():
            return _is_unsafe_call(node, full)
    return False


def _is_unsafe_call(call: ast.Call, full: dict[str, str]) -> bool:
    name, given = _name(call.func, full), {each.arg: each.value for each in call.keywords}
    if name in IMPORTERS:
        return any(
            _is_module(str(each.value)) for each in call.args if isinstance(each, ast.Constant)
        )
    if name == "torch.load" and not _is(given.get("weights_only"), True):
        return True
    return any(word in given and not _is(given[word], False) for word in ("allow_pickle", "shell"))


def _is_module(name: str) -> bool:
    return name.partition(".")[0] in MODULES


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _name(node: ast.expr, full: dict[str, str]) -> str:
    """The full name of what an expression names; empty where it is not a name."""
    match node:
        case ast.Name():
            return full.get(node.id, node.id)
        case ast.Attribute():
            return f"{_name(node.value, full)}.{node.attr}"
    return ""


UNSAFE = (
    "import pickle",
    "import numpy, cloudpickle as cp",
    "from dill import loads",
    "from marshal import loads",
    'import importlib; importlib.import_module("pickle")',
    '__import__("shelve")',
    "eval(text)",
    "run = exec",
    'compile(text, "name", "exec")',
    'import os; os.system("ls")',
    "from os import popen as opened",
    'import subprocess as s; s.run("ls", shell=True)',
    'from subprocess import run; run("ls", shell=how)',
    'import subprocess; subprocess.getoutput("ls")',
    "import numpy as np; np.load(file, allow_pickle=True)",
    "import numpy as np; np.load(file, allow_pickle=trusted)",
    "import torch; torch.load(file)",
    "from torch import load; load(file, weights_only=False)",
    "import pandas as pd; pd.read_pickle(file)",
    "import yaml; yaml.load(text, Loader=yaml.Loader)",
    "from yaml import unsafe_load",
    "import tempfile; tempfile.mktemp()",
)
SAFE = (
    "import numpy as np; np.load(file, allow_pickle=False)",
    "import torch; torch.load(file, weights_only=True)",
    'import subprocess; subprocess.run(["ls"], check=True)',
    "network.eval(); jax.jit(f).lower().compile()",
    "from ast import literal_eval; literal_eval(text)",
    "import yaml; yaml.safe_load(text)",
    "import tempfile; tempfile.mkdtemp()",
    "from .pickle import loads",
)


@pytest.mark.parametrize("code", UNSAFE)
def test_the_check_sees_what_is_unsafe(code: str) -> None:
    assert unsafe(code)


@pytest.mark.parametrize("code", SAFE)
def test_the_check_lets_pass_what_is_safe(code: str) -> None:
    assert not unsafe(code)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_source_has_nothing_unsafe(file: Path) -> None:
    assert not unsafe(file.read_text(encoding="utf-8"))

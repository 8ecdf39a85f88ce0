"""Habits that hold in every module of the package."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import i3ad_jax

MODULES = [
    importlib.import_module(info.name)
    for info in pkgutil.walk_packages(i3ad_jax.__path__, prefix="i3ad_jax.")
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_module_is_documented_and_short(module: ModuleType) -> None:
    source = inspect.getsource(module)
    assert module.__doc__
    assert len(source.splitlines()) <= 400
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module.__name__}.{node.name} has no docstring"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_key_comes_first_and_defaults_are_keywords(module: ModuleType) -> None:
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ != module.__name__ or name.startswith("_"):
            continue
        parameters = list(inspect.signature(function).parameters.values())
        names = [
            parameter.name for parameter in parameters if parameter.kind != parameter.KEYWORD_ONLY
        ]
        assert "key" not in names[1:], f"{module.__name__}.{name}"
        for parameter in parameters:
            if parameter.default is not parameter.empty:
                assert parameter.kind == parameter.KEYWORD_ONLY, (
                    f"{module.__name__}.{name}({parameter.name})"
                )


def test_deviations_are_listed_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs/paper.md").read_text()
    marked = sum(inspect.getsource(module).count("Deviation:") for module in MODULES)
    rows = sum(line.startswith("| ") for line in page.splitlines()) - 2
    assert 1 <= marked <= rows

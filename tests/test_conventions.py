"""Conventions that hold in every module of the package and of its tests."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

import i3ad_jax

MODULES = [
    importlib.import_module(info.name)
    for info in pkgutil.walk_packages(i3ad_jax.__path__, prefix="i3ad_jax.")
]
TESTS = Path(__file__).parent
TEST_FILES = sorted(TESTS.rglob("*.py"))
# Small modules whose tests are in the file of a module that uses them.
TESTED_BY = {
    **dict.fromkeys(
        (
            "check.checks",
            "check.findings",
            "check.inspection",
            "check.page",
            "check.records",
            "check.text",
        ),
        "test_check.py",
    ),
    **dict.fromkeys(
        (
            "cpu.bias",
            "cpu.eigen",
            "cpu.gate",
            "cpu.input_gradient",
            "cpu.kernel_gradient",
            "cpu.local_mean",
            "cpu.product",
            "cpu.space_to_depth",
            "cpu.strided",
            "cpu.switch",
            "cpu.window",
        ),
        "test_cpu.py",
    ),
    **dict.fromkeys(("data.layouts.flat", "data.layouts.layout"), "test_layouts.py"),
    **dict.fromkeys(("export.onnx", "export.program"), "test_export.py"),
    **dict.fromkeys(("methods.inpainting_gan", "methods.segmentation_head"), "test_i3ad.py"),
    **dict.fromkeys(("predict.workers", "runtime.cluster"), "test_ray.py"),
    "errors": "test_command_line.py",
    "evaluate.tested_run": "test_evaluate.py",
    "inference": "test_detector.py",
    "predict.scorer": "test_predict.py",
    "runs.weights": "test_run_record.py",
    "serve.app": "test_serve.py",
    "train.session": "test_train.py",
}
# Underscores of protocols: a named tuple's methods, and the display of a notebook.
OF_PROTOCOLS = {"_asdict", "_fields", "_replace", "_repr_html_"}
OF_ATTRIBUTES = {"delattr", "getattr", "hasattr", "setattr"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_module_is_documented_and_short(module: ModuleType) -> None:
    source = inspect.getsource(module)
    assert module.__doc__
    assert len(source.splitlines()) <= 400
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            overload = "overload" in map(ast.unparse, node.decorator_list)
            named = f"{module.__name__}.{node.name}"
            assert overload or ast.get_docstring(node), f"{named} has no docstring"


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
    listed = sum(line.startswith("- ") for line in page.splitlines())
    assert 1 <= marked <= listed


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_module_has_a_test_file(module: ModuleType) -> None:
    *_, parent, name = module.__name__.split(".")
    if hasattr(module, "__path__"):  # a package; its modules have files
        return
    if name == "__main__":
        expected = {"test_main.py" if parent == "i3ad_jax" else f"test_{parent}.py"}
    else:
        expected = {f"test_{name}.py", f"test_{parent}_{name}.py"}
    found = {file.name for file in TESTS.glob("test_*.py")}
    other = TESTED_BY.get(module.__name__.removeprefix("i3ad_jax."))
    assert bool(expected & found) == (other is None)
    assert other is None or other in found


def test_modules_that_others_test_exist() -> None:
    assert {f"i3ad_jax.{name}" for name in TESTED_BY} <= {module.__name__ for module in MODULES}


def test_names_of_tests_fit_a_line() -> None:
    names = [
        node.name
        for file in TEST_FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert [name for name in names if len(name) >= 72] == []


def is_private(name: str) -> bool:
    """Return whether a name, dotted or not, begins with one underscore."""
    own = name.rpartition(".")[2]
    return own.startswith("_") and not own.startswith("__") and own not in OF_PROTOCOLS


def private_names(source: str) -> Iterator[str]:
    """Yield private names that a program imports or reads from objects other than its own."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(names=names):
                yield from (each.name for each in names if is_private(each.name))
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if is_private(name):
                yield name
            case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called), args=arguments):
                texts = [each.value for each in arguments if isinstance(each, ast.Constant)]
                if called in OF_ATTRIBUTES:
                    yield from (x for x in texts if isinstance(x, str) and is_private(x))
            case ast.Constant(value=str(text)) if "import " in text and "\n" in text:
                with suppress(SyntaxError):  # a program for another process, or not
                    yield from private_names(dedent(text))


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.name)
def test_tests_use_no_private_name(file: Path) -> None:
    assert [*private_names(file.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "from i3ad_jax.config import NAME",
        "module.NAME",
        'monkeypatch.setattr(module, "NAME", None)',
        'monkeypatch.setattr("package.module.NAME", None)',
        'CODE = """\nimport module\nmodule.NAME\n"""',
    ],
)
def test_private_names_are_found(source: str) -> None:
    (found,) = private_names(source.replace("NAME", "_name"))
    assert found.endswith("_name")
    assert [*private_names(source.replace("NAME", "name"))] == []

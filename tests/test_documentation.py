"""README and the pages of docs/: what they name exists, and their examples run."""

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest

from i3ad_jax import Detector, __main__
from i3ad_jax.config import default_config
from i3ad_jax.data.layouts import LAYOUTS
from i3ad_jax.methods import METHODS
from i3ad_jax.scoring.maps import COMBINED, PLAIN
from tests.conftest import tiny_settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^(?:I3AD_TOKEN=\S+ )?i3ad (?P<line>.+?)(?:\s{2,}#.*)?$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith(("http:", "https:", "#")):
            assert (page.parent / unquote(link.partition("#")[0])).is_file(), link


def test_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in PAGES[1:]:
        if page.name not in ("index.md", "experiments.md"):  # of the site alone
            assert f"(docs/{page.name})" in readme, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    for found in COMMAND.finditer(page.read_text()):
        name, *rest = found["line"].split()
        if name.startswith("--"):
            continue
        assert name in __main__.COMMANDS, found[0]
        for option in (word for word in rest if word.startswith("--") and word != "--help"):
            assert option in _help(name), found[0]


def test_tables_have_every_method_score_and_layout() -> None:
    settings = (ROOT / "docs/settings.md").read_text()
    for name in (*METHODS, *(score.name for score in PLAIN), COMBINED.name):
        assert f"`{name}`" in settings, name
    layouts = (ROOT / "docs/own-images.md").read_text()
    for name in LAYOUTS:
        assert f"| `{name}` |" in layouts, name


def test_table_of_presets_has_the_settings_of_the_code() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    (row,) = re.findall(r"^\| Steps of `i3ad`.*$", page, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")][1:]
    values = [default_config("i3ad", preset=name).flat() for name in ("standard", "quick", "paper")]
    assert cells == [f"{own['steps']:,}, {own['batch_size']}" for own in values]


def test_examples_in_python_run(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.DOTALL)
    of_callbacks, of_resumption, _, _, of_estimator, of_scores = examples
    monkeypatch.chdir(tmp_path)
    Path("my_part").symlink_to(tiny_folder)
    Path("new_images").symlink_to(tiny_folder / "test")
    settings = {"method": "l2_ae", **tiny_settings("l2_ae"), "steps": 5}
    small = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    printed = io.StringIO()
    with redirect_stdout(printed):
        changed = of_callbacks.replace('"my_part", callbacks', f'"my_part", {small}, callbacks')
        exec(changed.replace("% 500", "% 5"), {"Detector": Detector})
        changed = of_resumption.replace('"my_part", folder', f'"my_part", {small}, folder')
        if find_spec("tensorboardX") is None:
            changed = changed.replace('to_tensorboard("runs/board")', "")
        exec(changed, {"Detector": Detector})
        exec(of_estimator.replace("components=20", "components=4"), {})
    assert printed.getvalue().startswith("5 {")
    assert Path("runs/estimator/calibration.json").exists()
    assert Path("runs/my_part/calibration.json").exists()
    # In a process of its own: the table of scores is the process's.
    subprocess.run([sys.executable, "-c", of_scores], check=True)


@pytest.mark.slow
def test_examples_of_processes_run(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/python.md").read_text()
    _, _, of_spawn, of_joblib, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/my_part").symlink_to(pca_run)
    Path("a.png").symlink_to(tiny_folder / "test/good/0.png")
    Path("b.png").symlink_to(tiny_folder / "test/spot/0.png")
    Path("spawn.py").write_text(of_spawn)
    Path("joblib_.py").write_text(of_spawn.partition("if __name__")[0] + of_joblib)
    printed = [
        subprocess.run([sys.executable, script], check=True, capture_output=True).stdout
        for script in ("spawn.py", "joblib_.py")
    ]
    good, spot = json.loads(printed[0])
    assert good < spot
    assert printed[0] == printed[1]


@cache
def _help(command: str) -> str:
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit):
        import_module(f"i3ad_jax.{command}.__main__").main(["--help"])
    return printed.getvalue()

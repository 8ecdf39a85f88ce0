"""README and the pages of docs/: what they name exists, and their examples run."""

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from i3ad_jax import Detector, __main__
from i3ad_jax.calibration.thresholds import defect_threshold, false_alarms
from i3ad_jax.check import inspection
from i3ad_jax.config import PRESETS, default_config
from i3ad_jax.data.layouts import LAYOUTS
from i3ad_jax.methods import METHODS
from i3ad_jax.predict.__main__ import UNUSABLE_PICTURES
from i3ad_jax.scoring.maps import COMBINED, PLAIN
from i3ad_jax.settings import flag
from tests.conftest import RunOf, tiny_settings
from tests.support.cloth import small_config

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
# Of the site alone.
ASSEMBLED = ("index.md", "experiments.md", "contributing.md")
# Pages whose commands run here. The slow ones train several runs each.
HOW_TO = ("missed-defect", "recalibrate")
SLOW_HOW_TO = ("which-method", "how-many-images", "how-long", "false-alarm")
IMAGES = {
    "my_part": "",
    "new_images": "test",
    "new_normal_images": "test/good",
    "missed": "test",
    "flagged": "test/good",
}
COMMAND = re.compile(r"^(?:I3AD_TOKEN=\S+ )?i3ad (?P<line>.+?)(?:\s{2,}#.*)?$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith(("http:", "https:", "#")):
            assert (page.parent / unquote(link.partition("#")[0])).is_file(), link


def test_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in DOCS:
        if page.name not in ASSEMBLED:
            assert f"(docs/{page.name})" in readme, page.name
    assert "(CONTRIBUTING.md)" in readme


def test_readme_fits_on_a_screen_or_two() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_exist(page: Path) -> None:
    for found in COMMAND.finditer(page.read_text()):
        name, *rest = found["line"].split()
        if name.startswith("--"):
            continue
        assert name in __main__.COMMANDS, found[0]
        for option in (word for word in rest if word.startswith("--") and word != "--help"):
            assert option in _help(name, _method(rest) if name == "train" else None), found[0]


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
    values = [default_config("i3ad", preset=name).flat() for name in PRESETS]
    assert cells == [f"{own['steps']:,}, {own['batch_size']}" for own in values]


def test_table_of_the_small_paper_preset_has_the_settings_of_the_code() -> None:
    page = (ROOT / "docs/paper.md").read_text()
    rows = re.findall(r"^\| (`\w+`.*) \| (.+) \((.+)\) \| (\d+) \((\d+)\) \|$", page, re.MULTILINE)
    methods = set()
    for names, steps, paper_steps, width, paper_width in rows:
        for method in re.findall(r"`(\w+)`", names):
            methods.add(method)
            for preset, shown in (
                ("paper_small", (steps, width)),
                ("paper", (paper_steps, paper_width)),
            ):
                own = default_config(method, preset=preset).flat()
                assert shown == (f"{own['steps']:,}, {own['batch_size']}", str(own["width"]))
    learning = {name for name in METHODS if "width" in default_config(name).flat()}
    assert methods == learning - {name for name in learning if METHODS[name].weights_of}


def test_table_of_false_alarms_has_the_intervals_of_the_code() -> None:
    page = (ROOT / "docs/how-many-images.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) % to ([\d.]+) % \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for count, above, low, high in rows:
        scores = np.arange(float(count))
        found = false_alarms(scores, defect_threshold(scores))
        assert found.rate == int(above) / int(count)
        assert [f"{100 * bound:.1f}" for bound in (found.low, found.high)] == [low, high]


@pytest.mark.parametrize(
    "name",
    [
        *HOW_TO,
        *(pytest.param(page, marks=pytest.mark.slow) for page in SLOW_HOW_TO),
    ],
)
def test_commands_of_how_to_pages_run(
    name: str, cloth: Path, run_of: RunOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inspection, "default_config", small_config)
    for folder, part in IMAGES.items():
        Path(folder).symlink_to(cloth / part)
    # how-long has --steps in trainings, and --iterations in a test.
    trained, tested = ("l2_ae", "i3ad") if name == "how-long" else ("pca", "pca")
    shutil.copytree(run_of(tested), "runs/my_part")
    page = (ROOT / f"docs/{name}.md").read_text()
    for language, block in re.findall(r"```(bash|python)\n(.*?)```", page, re.DOTALL):
        if language == "python":
            exec(block, {})
        else:
            for found in COMMAND.finditer(block):
                _run_small(shlex.split(found["line"]), method=trained)


def test_camera_loop_runs(
    tiny_folder: Path, pca_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = pytest.importorskip("cv2")
    page = (ROOT / "docs/camera-loop.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/my_part").symlink_to(pca_run)
    printed = io.StringIO()
    camera = f"cv2.VideoCapture({str(tiny_folder / 'test/spot/%d.png')!r})"
    with redirect_stdout(printed):
        exec(example.replace("cv2.VideoCapture(0)", camera), {"cv2": cv2})
    lines = printed.getvalue().splitlines()
    expected = Detector.load(pca_run).score(tiny_folder / "test/spot")
    assert [line.split()[:2] for line in lines] == [
        [found.verdict, f"{found.score:.3g}"] for found in expected
    ]


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
def _help(command: str, method: str | None) -> str:
    chosen = [] if method is None else ["--method", method]
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.raises(SystemExit):
        _main(command)([*chosen, "--help-all"])
    return printed.getvalue()


def _main(command: str) -> Callable[[Sequence[str]], None]:
    return import_module(f"i3ad_jax.{command}.__main__").main


def _method(arguments: Sequence[str]) -> str | None:
    return arguments[arguments.index("--method") + 1] if "--method" in arguments else None


def _run_small(words: Sequence[str], *, method: str) -> None:
    """Run a command; one that trains has the settings of the smallest training after its own."""
    command, *arguments = words
    if command == "train" and "--resume" in arguments:
        arguments += ["--steps", "9"]
    elif command == "train":
        method = _method(arguments) or method
        arguments += ["--method", method]
        for name, value in tiny_settings(method).items():
            arguments += [flag(name), *map(str, np.ravel(value))]
    try:
        _main(command)(arguments)
    except SystemExit as stop:
        if stop.code != UNUSABLE_PICTURES:
            raise

"""Likely slips at the command line, each with the answer that it gets: one line, exit code 2."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from i3ad_jax import __main__
from i3ad_jax.config import default_config
from i3ad_jax.methods import METHODS
from tests.conftest import Fails

SLIPS = [
    ("trian --preset quick", "trian: no such command; one of {commands}; did you mean train?"),
    ("train {data}", "{data}: unexpected argument; did you mean --data {data}?"),
    ("train --data nowhere", "--data {folder}/nowhere: no such folder or file; "),
    ("train --method l2ae", "--method l2ae: unknown; one of {methods}; did you mean l2_ae?"),
    (
        "train --preset quik",
        "--preset quik: unknown; one of standard, quick, gpu, paper, paper_small; did you mean"
        " quick?",
    ),
    ("train --stpes 500", "--stpes: unknown option; did you mean --steps?"),
    ("train --view tile", "--view tile: must be one of auto, whole, tiles; did you mean tiles?"),
    ("train --method pca --u 0.3", "--u 0.3: pca has no such setting; i3ad has it"),
    ("train --method pca --components 0", "--components 0: must be at least 1 and at most 65536"),
    ("train --resume", "--resume: say which run with --run FOLDER"),
    ("train --run {run}", "--run {run}: holds a run; continue it with --resume or name another"),
    (
        "predict {data} --out out",
        "{data}: not a run (no config.json); name the run first: i3ad predict RUN IMAGES --out OUT",
    ),
    ("predict {run} --out out", "IMAGES: name images, folders or URIs after the run"),
    ("predict {run} {data}", "missing: --out PATH"),
    (
        "predict --run {run} {data} --out out",
        "--run: not an option; give {run} without it",
    ),
    (
        "predict {run} {data} --out out --score combine",
        "--score combine: this run has no such score; one of {scores}; did you mean combined?",
    ),
    (
        "calibrate {data} --out out",
        "{data}: not a run (no config.json); name the run first: i3ad calibrate RUN IMAGES --out",
    ),
    ("calibrate {run} --out out", "IMAGES: name image files, or folders of them"),
    ("calibrate {run} {data}", "missing: --out PATH"),
    ("evaluate {data}", "{data}/config.json: missing; {data} is not a finished run"),
    ("evaluate {run} {data}", "{data}: unexpected argument; did you mean --data {data}?"),
    (
        "report {untested}",
        "{untested}: not tested yet; test it by i3ad evaluate {untested} --data DATA,",
    ),
    ("report {run} {run}", "--out: name the HTML file that compares the runs"),
    (
        "export {run} --out out --format onxx",
        "--format onxx: must be one of stablehlo, onnx; did you mean onnx?",
    ),
    ("pack {data} out", "missing: --out PATH Folder to write to."),
    ("serve {run} --prot 80", "--prot: unknown option; did you mean --port?"),
]


def i3ad(arguments: Sequence[str]) -> None:
    """The program `i3ad`; the fixture `fails` puts `sys.argv` back."""
    sys.argv = ["i3ad", *arguments]
    __main__.main()


@pytest.mark.parametrize(("line", "answer"), SLIPS, ids=[line for line, _ in SLIPS])
def test_a_slip_gets_its_answer(
    line: str,
    answer: str,
    fails: Fails,
    pca_run: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "untested").mkdir()
    settings = json.dumps(default_config("pca").to_json())
    (tmp_path / "untested/config.json").write_text(settings)
    results = json.loads((pca_run / "results.json").read_text())
    words = {
        "run": pca_run,
        "data": tiny_folder,
        "folder": tmp_path,
        "untested": tmp_path / "untested",
        "commands": ", ".join(__main__.COMMANDS),
        "methods": ", ".join(METHODS),
        "scores": ", ".join(results["scores"]),
    }
    message = fails(i3ad, line.format(**words).split())
    assert message.startswith(f"error: {answer.format(**words)}")
    assert [path.name for path in tmp_path.iterdir()] == ["untested"]


def test_too_many_components_are_refused(fails: Fails, tiny_folder: Path, tmp_path: Path) -> None:
    options = f"--method pca --components 9 --image-size 16 --run {tmp_path / 'run'}"
    message = fails(i3ad, ["train", "--data", str(tiny_folder), *options.split()])
    assert "--components 9: must be fewer than the images trained on, 6" in message


@pytest.mark.parametrize(
    ("line", "package", "extra"),
    [
        ("predict {run} nowhere --out out --engine ray", "ray", "ray"),
        ("predict {run} nowhere --out out --engine blocks", "pyarrow", "parquet"),
        ("export nowhere --out out --format onnx", "onnxruntime", "onnx"),
        ("serve nowhere", "uvicorn", "serve"),
    ],
)
def test_a_missing_extra_is_reported_before_anything_is_read(
    line: str,
    package: str,
    extra: str,
    fails: Fails,
    pca_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    message = fails(i3ad, line.format(run=pca_run).split())
    assert f"pip install 'i3ad_jax[{extra}]'" in message

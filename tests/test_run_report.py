"""`python -m i3ad_jax.report`: reports from run folders, complete or not, one or several."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.detector import Detector
from i3ad_jax.errors import IncompleteReportWarning
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.report import __main__ as report
from i3ad_jax.runs.files import read_json, without_digest, write_with_digest
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.train import __main__ as train
from tests.support.html_page import Page

Fails = Callable[..., str]


@pytest.fixture
def run(pca_run: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return shutil.copytree(pca_run, tmp_path / "run")


@pytest.fixture(scope="module")
def seeds(
    pca_run: Path, flags_of: Callable[[str], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> list:
    """Two runs that differ by their seed."""
    other = tmp_path_factory.mktemp("runs") / "other seed"
    train.main([*flags_of("pca"), "--seed", "1", "--run", str(other)])
    return [pca_run, other]


def test_report_shows_the_plan_and_the_rule_that_the_run_keeps(run: Path) -> None:
    ruled = Detector.load(run).with_rule(score="l2", false_alarm_rate=0.5)
    RunFolder(run).write_verdict(ruled.verdict)
    evaluate.main([str(run)])
    results, page = read_json(run / "results.json"), Page((run / "report.html").read_text())
    assert (results["headline"], results["rule"]) == ("l2", ruled.rule.describe())
    assert results["thresholds"] == {
        **ruled.calibration.thresholds,
        "l2": float(np.median(ruled.calibration.held_out_scores["l2"])),
    }
    shown = " ".join(page.lines)
    assert ruled.rule.describe()[1:] in shown
    assert results["pixel_threshold"] == ruled.rule.pixel_threshold
    files = ruled.plan.files
    assert f"for training {len(files.trained)}" in shown
    assert f"for calibration {len(files.held_out)}" in shown
    for line in ruled.plan.describe():
        assert line in shown
    assert "Selected score: L2" in shown


def test_report_of_a_run_is_sound_and_counts_what_numpy_counts(pca_run: Path) -> None:
    html = (pca_run / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    page.check()
    results = json.loads((pca_run / "results.json").read_text())
    with (pca_run / "scores.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    headline = results["headline"]
    above = np.array([float(row[headline]) > results["thresholds"][headline] for row in rows])
    labels = np.array([int(row["label"]) for row in rows])
    for name, label, flagged in (
        ("found", 1, True),
        ("missed", 1, False),
        ("false alarm", 0, True),
    ):
        count = int(((labels == label) & (above == flagged)).sum())
        assert re.findall(rf'data-count="{name}">(\d+)<', html)[0] == str(count)
        assert len(page.named("tr", **{"data-outcome": name})) == count
    for values in results["scores"].values():
        assert all(
            f"{values[m]:.3f}" in page.lines for m in ("image_auroc", "pixel_auroc", "pixel_aupro")
        )


def test_report_of_a_loop_has_its_states(tiny_run: Path) -> None:
    page = Page((tiny_run / "report.html").read_text(encoding="utf-8"))
    page.check()
    page.check_prose()
    assert json.loads(page.attributes("data-states")[0]) == [
        "checkerboard pass",
        "iteration 1",
        "iteration 2",
    ]


@pytest.mark.parametrize("of", ["pca_run", "tiny_run"])
def test_report_from_the_folder_is_the_report_of_the_test(
    of: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(of)
    report.main([str(folder), "--out", str(tmp_path / "new folder/again.html")])
    again = (tmp_path / "new folder/again.html").read_bytes()
    assert again == (folder / "report.html").read_bytes()


@pytest.mark.slow
def test_report_of_results_elsewhere_is_written_again_too(
    run: Path, capsys: pytest.CaptureFixture
) -> None:
    evaluate.main([str(run), "--standardise", "none"])
    before = (run / "evaluation/report.html").read_bytes()
    (run / "evaluation/report.html").unlink()
    capsys.readouterr()
    report.main([str(run / "evaluation")])
    assert (run / "evaluation/report.html").read_bytes() == before
    assert capsys.readouterr().out.splitlines()[-1] == str(run / "evaluation/report.html")


def change_source(run: Path, source: str) -> None:
    results = json.loads((run / "results.json").read_text())
    write_with_digest(run / "results.json", without_digest({**results, "data_source": source}))


def test_without_images_a_report_has_scores_alone_and_says_so(run: Path) -> None:
    change_source(run, "nowhere")
    with pytest.warns(
        IncompleteReportWarning, match=r"report.html: lacks pictures of the images \(.*nowhere"
    ):
        report.main([str(run)])
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    page.check()
    assert not page.pictures()
    assert "Not in this report:" in page.lines
    assert len([own for own in page.named("tr") if "data-index" in own]) == 6


def test_images_that_have_changed_are_not_shown(
    run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_folder, tmp_path / "other")
    Image.new("RGB", (48, 40)).save(other / "test/good/0.png")
    change_source(run, str(other))
    with pytest.warns(IncompleteReportWarning, match="not those of the results any more"):
        report.main([str(run)])


def test_without_weights_a_report_has_pictures_but_no_states(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    with pytest.warns(IncompleteReportWarning, match="lacks the states of the loop"):
        report.main([str(run)])
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    page.check()
    assert page.named("article")
    assert not page.named("div", **{"class": "picture sprite"})
    assert all(picture.startswith("data:image/webp") for picture in page.pictures())


def test_without_maps_a_report_has_no_pictures(run: Path) -> None:
    shutil.rmtree(run / "maps")
    with pytest.warns(IncompleteReportWarning, match="lacks the anomaly maps"):
        report.main([str(run)])


def test_maps_that_have_changed_are_not_shown(run: Path) -> None:
    headline = json.loads((run / "results.json").read_text())["headline"]
    file = run / f"maps/{headline}.npy"
    content = bytearray(file.read_bytes())
    content[-4] ^= 1  # a little of one value
    file.write_bytes(content)
    with pytest.warns(
        IncompleteReportWarning, match=rf"{headline}\.npy: has changed since it was written"
    ):
        report.main([str(run)])


def test_several_runs_are_compared(seeds: list[Path], tmp_path: Path) -> None:
    before = [(run / "report.html").read_bytes() for run in seeds]
    out = tmp_path / "compared/page.html"
    report.main([*map(str, seeds), "--out", str(out)])
    page = Page(out.read_text(encoding="utf-8"))
    page.check()
    assert "pca, runs 1, 2" in page.lines
    results = [json.loads((run / "results.json").read_text()) for run in seeds]
    for kind in results[0]["scores"]:
        values = [own["scores"][kind]["pixel_auroc"] for own in results]
        assert f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}" in page.lines
    assert [(run / "report.html").read_bytes() for run in seeds] == before


def test_pictures_of_the_images_on_which_runs_disagree(
    seeds: list[Path], run: Path, tmp_path: Path
) -> None:
    rows = [line.split(",") for line in (run / "scores.csv").read_text().splitlines()]
    column = rows[0].index(read_json(run / "results.json")["headline"])
    results = json.loads((run / "results.json").read_text())
    values = sorted(float(row[column]) for row in rows[1:])
    # Of this run one image alone is above the threshold, of the other all are.
    middle = {"thresholds": dict.fromkeys(results["scores"], (values[-2] + values[-1]) / 2)}
    write_with_digest(run / "results.json", without_digest({**results, **middle}))
    other = shutil.copytree(seeds[1], tmp_path / "other")
    results = json.loads((other / "results.json").read_text())
    lowest = {"thresholds": dict.fromkeys(results["scores"], -1e9)}
    write_with_digest(other / "results.json", without_digest({**results, **lowest}))
    out = tmp_path / "page.html"
    report.main([str(run), str(other), "--out", str(out)])
    page = Page(out.read_text(encoding="utf-8"))
    page.check()
    assert len(page.pictures()) == 3 * (len(values) - 1)
    change_source(other, "nowhere")
    with pytest.warns(IncompleteReportWarning, match=r"page.html: lacks pictures of .*nowhere"):
        report.main([str(run), str(other), "--out", str(out)])
    page = Page(out.read_text(encoding="utf-8"))
    assert len(page.pictures()) == 2 * (len(values) - 1)
    assert "Not on this page:" in page.lines


def test_cases_show_the_original_pictures(pca_run: Path) -> None:
    page = Page((pca_run / "report.html").read_text(encoding="utf-8"))
    assert "input, 48 x 40 pixels" in page.lines
    assert "Not all original pictures are at hand" not in " ".join(page.lines)


def test_mistakes_end_in_one_line(
    fails: Fails, run: Path, seeds: list[Path], tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "page.html"]
    assert "RUN" in fails(report.main, []).upper()
    assert "nowhere" in fails(report.main, [tmp_path / "nowhere"])
    assert "results.json" in fails(report.main, [tmp_path, run, *out])
    assert "--out" in fails(report.main, seeds)
    assert "named twice" in fails(report.main, [run, run, *out])
    (tmp_path / "file").touch()
    assert "cannot be written" in fails(report.main, [*seeds, "--out", tmp_path / "file/page.html"])
    assert "cannot be written" in fails(report.main, [run, "--out", tmp_path / "file/page.html"])
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("results.json", '"headline"', '"other"', "headline"),
        ("results.json", '"l2"', '"l7"', "l7"),
        ("results.json", "{", "", "results.json"),
        ("scores.csv", "label", "class", "columns"),
        ("scores.csv", ",0,good", ",2,good", "label"),
        ("scores.csv", ",0,good,", ",0,good,nan", "scores.csv"),
        ("scores.csv", ",0,good,", ",0,", "scores.csv"),
        ("scores.csv", ",0,good,0.", ",0,good,1.", "scores.csv: cannot be read (it has changed"),
        ("results.json", '"sha256"', '"md5"', "sha256"),
        (
            "results.json",
            '"pixel_auroc": 0.',
            '"pixel_auroc": 1.',
            "results.json: its values have changed",
        ),
    ],
)
def test_damaged_results_are_named(
    fails: Fails, run: Path, file: str, old: str, new: str, named: str
) -> None:
    text = (run / file).read_text()
    assert old in text
    (run / file).write_text(text.replace(old, new))
    before = (run / "report.html").read_bytes()
    assert named in fails(report.main, [run])
    assert (run / "report.html").read_bytes() == before


def test_an_empty_table_of_scores_is_refused(fails: Fails, run: Path) -> None:
    (run / "scores.csv").write_text("")
    assert "scores.csv" in fails(report.main, [run])

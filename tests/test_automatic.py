"""The study of automatic choices: its alternatives, its figures, and the whole command."""

import csv
from pathlib import Path

import pytest

from experiments import automatic, runs
from i3ad_jax.config import Config, default_config
from i3ad_jax.runs.files import read_json
from tests.conftest import Fails, tiny_settings

CHOSEN = {"view": "whole", "generator": "context", "levelling": "no", "centre": "image"}


def figures(headline: list[float], best: list[float]) -> dict[str, list[float]]:
    return {"image AUROC": headline, "of its best score": best, "pixel AUROC": headline}


def test_alternatives_change_one_choice_each() -> None:
    assert list(automatic.alternatives(CHOSEN, ["generator"])) == ["generator two_stage"]
    options = automatic.alternatives(CHOSEN, tuple(automatic.VALUES))
    assert list(options) == [
        "view tiles",
        "generator two_stage",
        "levelling yes",
        "centre none",
        "centre colour",
    ]
    stored = default_config("i3ad")
    for changes in options.values():
        changed = stored.with_settings(dict(changes)).flat()
        assert {
            name: value for name, value in changed.items() if stored.flat()[name] != value
        } == changes
        assert len(changes) == 1


def test_the_gap_is_to_the_best_alternative() -> None:
    measured = {
        automatic.CHOSEN: figures([0.90, 0.92], [0.95, 0.93]),
        "view tiles": figures([0.94, 0.98], [0.94, 0.98]),
        "levelling yes": figures([0.80, 0.90], [0.80, 0.90]),
    }
    conclusion = automatic.conclude(measured, CHOSEN)
    assert (
        "is 0.910 ± 0.014; the best other value, view tiles, does better by 0.050 ± 0.014."
        in conclusion
    )
    assert "is 0.030 ± 0.028 below" in conclusion
    del measured["view tiles"]
    assert "no other value of one of them does better" in automatic.conclude(measured, CHOSEN)


@pytest.mark.slow
def test_command(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(method: str, *, preset: str) -> Config:
        return default_config(method, preset=preset).with_settings(tiny_settings(method))

    monkeypatch.setattr(runs, "default_config", tiny)
    flags = ["--choices", "levelling", "--seeds", "0"]  # each alternative is a training
    automatic.main([*flags, "--data", str(tiny_folder), "--out", str(tmp_path)])
    with (tmp_path / "automatic.csv").open(newline="") as lines:
        chosen, other = csv.DictReader(lines)
    (folder,) = (tmp_path / "alternatives").glob("*/runs/*/*")
    assert chosen["alternative"] == automatic.CHOSEN
    levelling = read_json(folder / "config.json")["preprocessing"]["levelling"]
    assert other["alternative"] == f"levelling {levelling}"
    (own,) = (tmp_path / "runs").glob("*/*")
    for path, row in ((own, chosen), (folder, other)):
        results = read_json(path / "results.json")
        expected = results["scores"][results["headline"]]["image_auroc"]
        assert float(row["image AUROC_mean"]) == pytest.approx(expected, abs=1e-6)
    levels = [read_json(path / "plan.json")["preprocessing"]["level"] for path in (own, folder)]
    assert sorted(levels) == [False, True]


def test_runs_of_others_are_refused(pca_run: Path, tmp_path: Path, fails: Fails) -> None:
    message = fails(automatic.main, ["--runs", pca_run, "--out", tmp_path / "out"])
    assert message.startswith("error: --runs: this study trains its own")

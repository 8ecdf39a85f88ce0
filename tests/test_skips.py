"""The study of the U-Net's skip connections: arithmetic by hand, command with tiny networks."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import runs, skips
from i3ad_jax.config import Config, default_config
from i3ad_jax.errors import InputError
from i3ad_jax.runs.files import read_json
from i3ad_jax.runs.run_folder import RunFolder


def figures(auroc: list[float], normal: list[float], defect: list[float]) -> dict[str, list[float]]:
    names = [f"{kind}_{name}" for kind in skips.SCORES for name in skips.METRICS]
    return {**dict.fromkeys(names, auroc), "normal_error": normal, "defect_error": defect}


def test_conclusion_says_what_the_skip_changed() -> None:
    text = skips.conclude(
        {
            "none": figures([0.9, 0.7], [0.01, 0.03], [0.1, 0.3]),
            "1": figures([0.5], [0.001], [0.002]),
        }
    )
    assert "has 10.0 times the error of one of a normal image; image AUROC is 0.800 (L2)" in text
    assert (
        "With skip 1 the error of defects is 0.01 of that and 2.0 times that of normal images"
        in text
    )
    assert text.endswith("image AUROC changes by -0.300 and -0.300.")


def test_each_skip_connection_alone_with_each_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = {}

    def make(run: Any, planned: Any, out: Path) -> None:
        trained[out.name, run.seed] = planned[run]

    monkeypatch.setattr("experiments.study.make", make)
    chosen = skips.folders(skips.Flags(out=tmp_path, data="textures:mesh", seeds=(4, 2), steps=7))
    names = ("none", "1", "2", "3", "4")
    assert list(trained) == [(f"skips-{name}", seed) for name in names for seed in (4, 2)]
    for (name, seed), config in trained.items():
        assert config.training.skips == (() if name == "skips-none" else (int(name[-1]),))
        assert (config.method, config.seed, config.training.steps) == ("unet", seed, 7)
    assert [folder.path.relative_to(tmp_path).parts for folder in chosen] == [
        (name, "runs", "mesh", f"unet-seed{seed}") for name, seed in trained
    ]


def small(method: str, *, preset: str) -> Config:
    """The method's defaults, as small as they can be."""
    network = {"image_size": 32, "view": "whole", "width": 2, "latent_size": 3}
    speed = {"steps": 2, "batch_size": 3, "queue_size": 8, "test_batch_size": 4}
    return default_config(method, preset=preset).with_settings({**network, **speed})


@pytest.fixture(scope="module")
def networks(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs of two networks, trained by the command."""
    out = tmp_path_factory.mktemp("skips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "default_config", small)
        patch.setattr(skips, "SKIPS", {"none": (), "1": (1,)})
        skips.main(["--data", str(tiny_folder), "--seeds", "3", "--out", str(out)])
    assert (out / "skips.svg").read_text().count("<svg") == 1
    return {
        name: out / f"skips-{name}/runs/{tiny_folder.name}/unet-seed3" for name in ("none", "1")
    }


@pytest.mark.slow
def test_figures_are_those_of_the_runs(networks: dict[str, Path], tmp_path: Path) -> None:
    folders = [RunFolder(networks[name]) for name in ("1", "none")]
    skips.main(["--runs", *(str(folder.path) for folder in folders), "--out", str(tmp_path)])
    with (tmp_path / "skips.csv").open(newline="") as lines:
        rows = {line["skips"]: line for line in csv.DictReader(lines)}
    assert list(rows) == ["none", "1"]
    test = skips.load_networks(folders).data.test
    for line, folder in zip((rows["1"], rows["none"]), folders, strict=True):
        scores = read_json(folder.results)["scores"]
        assert float(line["ssim_image_mean"]) == pytest.approx(
            scores["ssim"]["image_auroc"], abs=1e-6
        )
        error = np.load(folder.maps / "l2.npy")
        normal = np.mean([error[i] for i, defect in enumerate(test.defects) if defect == "good"])
        defects = np.concatenate([error[i][mask] for i, mask in enumerate(test.masks)]).mean()
        assert float(line["normal_error_mean"]) == pytest.approx(float(normal), abs=1e-6)
        assert float(line["defect_error_mean"]) == pytest.approx(float(defects), abs=1e-6)
    assert "- training steps: 2\n" in (tmp_path / "skips.md").read_text()
    picture = skips.reconstructions(skips.load_networks(folders))
    assert picture.shape == (3 * 34, 2 * 34, 3)  # a gap of 2 after each


@pytest.mark.slow
def test_runs_that_cannot_be_compared(networks: dict[str, Path], tiny_run: Path) -> None:
    def fails(*folders: Path) -> str:
        with pytest.raises(InputError) as error:
            skips.load_networks([RunFolder(folder) for folder in folders])
        return str(error.value)

    assert f"--runs {tiny_run}: give runs of unet" in fails(networks["none"], tiny_run)
    assert "--runs: none is without skip connections" in fails(networks["1"])

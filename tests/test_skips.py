"""The study of the U-Net's skip connections: its arithmetic by hand, its command with tiny networks."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import skips
from experiments.skips import AUROCS, ERRORS, Row, markdown, means, measure
from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.presets import defaults
from i3ad_jax.run_folder import RunFolder, write_json


def row(name: str, seed: int, auroc: float, normal: float, defect: float) -> Row:
    return Row(
        name, seed, {**dict.fromkeys(AUROCS, auroc), **dict(zip(ERRORS, (normal, defect), strict=True))}
    )


ROWS = [row("none", 0, 0.9, 0.01, 0.10), row("none", 1, 0.7, 0.03, 0.30), row("1", 0, 0.5, 0.001, 0.002)]


def test_mean_and_deviation_over_seeds() -> None:
    table = means(ROWS)
    assert table["none"]["ssim_image_auroc"] == pytest.approx((0.8, 0.2 / np.sqrt(2)))
    assert table["none"]["defect_error"] == pytest.approx((0.2, 0.2 / np.sqrt(2)))
    assert table["1"]["normal_error"] == (0.001, None)


def test_conclusion_says_what_the_skip_changed() -> None:
    text = markdown(ROWS, {"data": "mine"})
    assert "| none | 0.800 ± 0.141 |" in text
    assert "has 10.0 times the error of one of a normal image; image AUROC 0.800 (L2)" in text
    assert "With skip 1 the error of defects is 0.01 of that without, 2.0 times that of normal" in text
    assert "image AUROC changes by -0.300 (L2)" in text
    assert text.endswith("\n- data: mine\n")


def test_errors_are_of_normal_images_and_of_defects(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.maps.mkdir()
    error = np.random.default_rng(0).uniform(size=(4, 6, 6)).astype(np.float32)
    masks = np.zeros((4, 6, 6), bool)
    masks[2, 1:4, 2:5] = masks[3, 0, 0] = True
    np.save(folder.maps / "l2.npy", error)
    scores = {
        kind: {"image_auroc": 0.1 * i, "pixel_auroc": 0.2 * i} for i, kind in enumerate(("ssim", "l2"), 1)
    }
    write_json(folder.results, {"scores": scores})
    data: Any = SimpleNamespace(test=SimpleNamespace(labels=np.array([0, 0, 1, 1]), masks=masks))
    figures = measure(folder, data)
    assert figures["normal_error"] == pytest.approx(error[:2].mean(), rel=1e-6)
    defects = [*error[2, 1:4, 2:5].ravel(), error[3, 0, 0]]
    assert figures["defect_error"] == pytest.approx(np.mean(defects), rel=1e-6)
    assert (figures["l2_image_auroc"], figures["ssim_pixel_auroc"]) == (0.2, 0.2)


def test_each_skip_connection_alone_with_each_seed() -> None:
    runs = skips.plan(skips.Flags(out=Path(), data="textures:mesh", seeds=(4, 2), steps=7))
    assert list(runs) == [(name, seed) for name in ("none", "1", "2", "3", "4") for seed in (4, 2)]
    for (name, seed), config in runs.items():
        assert config.network.skips == (() if name == "none" else (int(name),))
        assert (config.method, config.seed, config.training.steps) == ("unet", seed, 7)
        assert config.data.data == "textures:mesh"
    with pytest.raises(InputError, match=r"^--seeds: nothing given"):
        skips.plan(skips.Flags(out=Path(), seeds=()))


def small(preset: str, method: str) -> Config:
    """The method's defaults, made as small as they can be."""
    config = defaults(preset, method)
    return replace(
        config,
        data=replace(config.data, image_size=32),
        network=replace(config.network, width=2, latent_size=3),
        training=replace(config.training, steps=2, batch_size=3),
        refine=replace(config.refine, queue_size=8, test_batch_size=4),
    )


def test_command(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skips, "defaults", small)
    monkeypatch.setattr(skips, "SKIPS", {"none": ()})
    command = ["--data", str(tiny_folder), "--seeds", "3", "--out", str(tmp_path)]
    skips.main(command)
    run = tmp_path / "runs/skips-none-seed3"
    with (tmp_path / "skips.csv").open() as lines:
        (figures,) = csv.DictReader(lines)
    scores = json.loads((run / "results.json").read_text())["scores"]
    assert (figures["skips"], figures["seed"]) == ("none", "3")
    assert float(figures["ssim_image_auroc"]) == scores["ssim"]["image_auroc"]
    with Image.open(tmp_path / "reconstructions.png") as picture:
        assert picture.size == (2 * 34, 2 * 34)  # with a gap of 2 after each
    assert "- steps: 2\n" in (tmp_path / "skips.md").read_text()
    assert (tmp_path / "skips.svg").read_text().count("<svg") == 1

    # Again: what is done is left alone.
    before = (run / "results.json").stat().st_mtime_ns
    skips.main(command)
    assert (run / "results.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"^--out .*skips-none-seed3: was made with other settings"):
        skips.main([*command, "--steps", "7"])


def test_data_without_masks(tiny_folder: Path, tmp_path: Path) -> None:
    unmarked = tmp_path / "unmarked"
    unmarked.mkdir()
    for split in ("train", "test"):
        (unmarked / split).symlink_to(tiny_folder / split)
    with pytest.raises(InputError, match=r"^--data .*unmarked: no test image with a mask"):
        skips.main(["--data", str(unmarked), "--out", str(tmp_path / "out")])

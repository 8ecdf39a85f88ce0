"""`python -m i3ad_jax.evaluate`: tests of a trained run, repeated or with other settings."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax import Detector
from i3ad_jax.evaluate import __main__ as evaluate


def test_evaluate_repeats_the_run(tiny_run: Path, tmp_path: Path) -> None:
    evaluate.main([str(tiny_run), "--out", str(tmp_path / "again")])
    assert (tmp_path / "again/scores.csv").read_text() == (tiny_run / "scores.csv").read_text()


@pytest.mark.slow
def test_the_batch_size_of_the_test_changes_no_map(tiny_run: Path, tmp_path: Path) -> None:
    evaluate.main([str(tiny_run), "--out", str(tmp_path), "--test-batch-size", "1"])
    together, singly = (np.load(folder / "maps/ssim.npy") for folder in (tiny_run, tmp_path))
    # A barely trained network passes rounding on as it is: 1e-6 was measured on AVX-512 and SSE4.2.
    np.testing.assert_allclose(together, singly, rtol=0, atol=5e-6)


@pytest.mark.slow
def test_evaluate_with_other_settings_leaves_the_run_alone(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = (run / "results.json").read_bytes()
    evaluate.main([str(run), "--u", "0.3", "--iterations", "1"])
    results = json.loads((run / "evaluation/results.json").read_text())
    assert (results["u"], results["iterations"]) == (0.3, 1)
    assert (run / "results.json").read_bytes() == before


@pytest.mark.slow
def test_weights_give_nearly_the_same_maps_in_bfloat16(tiny_run: Path, tiny_folder: Path) -> None:
    single = Detector.load(tiny_run)
    asked = single.plan.asked.with_settings({"dtype": "bfloat16"})
    half = replace(single, plan=single.plan.with_asked(asked))
    maps, others = (
        np.stack([found.small_maps["ssim"] for found in own.score(tiny_folder / "test")])
        for own in (single, half)
    )
    assert 0 < np.abs(maps - others).mean() < 0.02

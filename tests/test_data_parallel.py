"""Devices that share every training batch: they learn what one device learns."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest

from i3ad_jax.train import __main__ as train
from tests.conftest import Fails

ROOT = Path(__file__).parents[1]

# Four simulated devices need a process of their own.
TRAINING = """
import sys
from dataclasses import replace
import jax
jax.config.update("jax_num_cpu_devices", 4)
import numpy as np
from tests.conftest import tiny_settings
from tests.support.made_up_plan import made_up_plan
from i3ad_jax.config import default_config
from i3ad_jax.training.steps import training_steps
from i3ad_jax.preprocessing.preprocessing import Preprocessing

method = sys.argv[1]
sizes = {"batch_size": 8, "segmenter_batch_size": 4, "steps": 4}
settings = {**tiny_settings(method), **sizes, "augment": "turn"}
own = default_config(method).flat()
config = default_config(method).with_settings(
    {name: x for name, x in settings.items() if name in own}
)
images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
preprocessing = Preprocessing.learn(images[:15], images[15:], side=32)
made_up = made_up_plan(config)
preprocessing = replace(preprocessing, levels=made_up.preprocessing.levels)
plan = replace(made_up, preprocessing=preprocessing)

def steps(devices, **start):
    for step in training_steps(plan, images, devices=devices, **start):
        losses = {name: float(x) for name, x in step.metrics.items()}
        yield step.number, jax.device_get(step.state), losses
        on = {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(step.state)}
        assert on == {devices}

def agree(found, expected):
    assert [number for number, *_ in found] == [number for number, *_ in expected]
    for (_, state, losses), (_, other, others) in zip(found, expected, strict=True):
        np.testing.assert_allclose(list(losses.values()), list(others.values()), rtol=0, atol=1e-5)
        for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
            scale = max(1, np.abs(y).max()) if np.size(y) else 1
            np.testing.assert_allclose(x, y, rtol=0, atol=ATOL * scale)

# Adam's first steps are of one size in the direction of each gradient's sign. Of a gradient that is
# 0 except for rounding, that is the direction of the rounding.
ATOL = 2e-3
one, four = list(steps(1)), list(steps(4))
agree(four, one)
# and go on from what another number has learned
agree(list(steps(4, start=2, state=one[1][1])), one[2:])
agree(list(steps(1, start=2, state=four[1][1])), one[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["i3ad", "l2_ae"])
def test_four_devices_learn_what_one_learns(method: str) -> None:
    subprocess.run([sys.executable, "-c", TRAINING, method], check=True, cwd=ROOT)


def test_devices_that_are_not_there_and_batches_they_do_not_divide(
    fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    too_many = fails(train.main, ["--run", run, "--devices", str(jax.device_count() + 1)])
    assert "--devices" in too_many
    assert "--devices 0" in fails(train.main, ["--run", run, "--devices", "0"])
    devices = jax.local_devices() * 8
    monkeypatch.setattr(jax, "local_devices", lambda *_: devices)
    message = fails(train.main, ["--run", run, "--devices", "3", "--batch-size", "8"])
    assert "--devices 3: must divide --batch-size 8" in message
    assert not run.exists()

"""Training steps that do not fit: the message's batch by the compiled program, real refusals."""

import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.config import default_config
from i3ad_jax.errors import OutOfMemoryError
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.plan import Plan
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runtime import memory
from i3ad_jax.training.batch_memory import batch_memory
from i3ad_jax.training.batches import Augmentation, TrainingImages
from i3ad_jax.training.steps import Training, run_steps
from tests.conftest import tiny_settings
from tests.support.made_up_plan import made_up_plan

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)


def plan_of(batch_size: int) -> Plan:
    settings = {**tiny_settings("l2_ae"), "batch_size": batch_size, "steps": 1}
    plan = made_up_plan(default_config("l2_ae").with_settings(settings))
    return replace(plan, preprocessing=Preprocessing.learn(IMAGES[:6], IMAGES[6:], side=32))


def refused(_: object) -> None:
    jnp.zeros((2**22, 2**20)).block_until_ready()


def message(plan: Plan) -> str:
    """The message of a step of the plan, whose state is donated, that the allocator refuses."""
    preprocessing, size = plan.preprocessing, plan.config.batch_sizes()["batch_size"]
    augmentation = Augmentation.of(preprocessing, "none")
    training = Training(plan.method, 1, augmentation, None, jax.random.key(0))
    state = fresh_state(jax.random.key(0), plan.method)
    images = TrainingImages(IMAGES, preprocessing, batch_size=size, seed=0)
    (block,) = images.blocks(0, 1, together=20)
    with (
        pytest.raises(OutOfMemoryError) as error,
        batch_memory(plan, run_steps, training, state, block),
    ):
        refused(run_steps(training, state, block, 0, 1))
    return str(error.value)


def needed(text: str) -> int:
    found = re.search(r"it needs ([\d,]+) of", text)
    assert found
    return int(found[1].replace(",", ""))


@pytest.mark.slow
def test_the_largest_half_that_fits_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_size = message(plan_of(40))
    assert by_size.startswith("--batch-size 40: out of memory; --batch-size 20 fits: it needs ")
    # less than a batch of 20 needs, but more than 10, whose memory is about half of it
    (tmp_path / "meminfo").write_text(f"MemAvailable: {needed(by_size) * 1024 * 3 // 4} kB\n")
    monkeypatch.setattr(memory, "SYSTEM", tmp_path / "meminfo")
    smaller = message(plan_of(40))
    assert "; --batch-size 10 fits: " in smaller
    assert 0.4 < needed(smaller) / needed(by_size) < 0.75
    (tmp_path / "meminfo").write_text("MemAvailable: 1 kB\n")
    assert message(plan_of(3)) == (
        "--batch-size 3: out of memory, and no smaller batch fits; lower --image-size"
    )


def test_other_errors_are_themselves() -> None:
    with (
        pytest.raises(RuntimeError, match="a mistake"),
        batch_memory(plan_of(3), run_steps, None, None, None),
    ):
        raise RuntimeError("a mistake")

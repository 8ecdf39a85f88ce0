"""Estimates of a training's cost."""

from pathlib import Path

import pytest

from benchmarks.networks import build
from i3ad_jax.check.choices import predict_choices
from i3ad_jax.check.cost import Cost, estimate, step_operations
from i3ad_jax.check.records import read_records
from tests.support.cloth import small_config


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "unknown"), (90, "90 seconds"), (300, "5 minutes"), (1e6, "12 days")],
)
def test_duration_is_readable(seconds: float | None, text: str) -> None:
    assert Cost(1, 1.0, seconds, 0).duration == text


def test_cost_is_that_of_all_steps(cloth: Path) -> None:
    config, images = small_config("i3ad"), read_records(cloth).readable("train")
    choices = predict_choices(config, images)
    once = estimate(choices, 40, rate=1e11)
    longer = predict_choices(config.with_settings({"steps": 2 * config.training.steps}), images)
    twice = estimate(longer, 40, rate=1e11)
    height, width = choices.sizes.working
    assert once.seconds is not None
    assert twice.seconds == pytest.approx(2 * once.seconds)
    assert estimate(choices, 40, rate=2e11).seconds == pytest.approx(once.seconds / 2)
    assert (
        estimate(choices, 50, rate=None).bytes_at_least - once.bytes_at_least
        == 10 * height * width * 3
    )
    more = choices.config.with_settings({"batch_size": 2 * config.training.batch_size, "steps": 1})
    assert once.operations < step_operations(build(more))

"""Choices that a check predicts, against those of a training."""

from pathlib import Path
from typing import Any

import pytest

from i3ad_jax.check.choices import predict_choices
from i3ad_jax.check.cost import Cost
from i3ad_jax.check.inspection import Inspection
from i3ad_jax.check.records import read_records
from i3ad_jax.check.text import lines
from i3ad_jax.config import default_config
from i3ad_jax.plan import resolve


def test_what_a_training_would_choose_is_what_it_chooses(cloth: Path) -> None:
    config = default_config("i3ad").with_settings({"data": str(cloth)})
    read = lambda size: config.data.load(size=size).train  # noqa: E731
    # without details whole images are small, as those that a check looks at
    small = config.with_settings({"view": "whole", "segmenter_width": 0})
    whole = resolve(small, read)
    choices = predict_choices(config, read_records(cloth).readable("train"))
    assert choices.reasons == dict(whole.plan.preprocessing.reasons)
    actual = resolve(config, read).plan
    assert choices.config == config.with_settings(
        {name: actual.choices[name].value for name in ("view", "generator")}
    )
    assert choices.sizes == actual.sizes
    assert choices.sizes.levels > 0


@pytest.mark.parametrize("settings", [{}, {"view": "tiles"}, {"segmenter_width": 0}], ids=str)
def test_a_check_says_of_sizes_what_the_training_says(
    cloth: Path, settings: dict[str, Any]
) -> None:
    config = default_config("i3ad").with_settings({"data": str(cloth), **settings})
    records = read_records(cloth)
    choices = predict_choices(config, records.readable("train"))
    inspection = Inspection(cloth, records, (), {"standard": (choices, Cost(1, 1.0, None, 0, 0))})
    said = [line.strip() for line in lines(inspection)]
    described = resolve(config, lambda size: config.data.load(size=size).train).plan.describe()
    seen = described[0].partition(", because")[0]
    details = [line for line in described if line.startswith("details")]
    assert len(details) == (settings.get("segmenter_width") != 0)
    first = said.index(seen)
    assert said[first : first + 1 + len(details)] == [seen, *details]
    assert [line for line in said if line.startswith("details")] == details

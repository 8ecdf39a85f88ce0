"""Choices that a check predicts, against those of a training."""

from pathlib import Path

from i3ad_jax.check.choices import predict_choices
from i3ad_jax.check.records import read_records
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
    assert choices.size == actual.preprocessing.size

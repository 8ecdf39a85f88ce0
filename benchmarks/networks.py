"""Methods without a data set, for timings and tests: nothing in them depends on images."""

from typing import Any

from i3ad_jax.config import AUTOMATIC_NETWORKS, Config
from i3ad_jax.methods.method import Method


def build(config: Config[Any, Any]) -> Method:
    """Return the method for whole images, with the two-stage generator unless settings differ."""
    without_images = dict(zip(AUTOMATIC_NETWORKS, ("whole", "two_stage"), strict=True))
    asked = config.flat()
    changes = {name: value for name, value in without_images.items() if asked.get(name) == "auto"}
    return config.with_settings(changes).build()

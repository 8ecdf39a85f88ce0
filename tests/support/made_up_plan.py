"""A plan of images that never were: for runs that nothing is trained in."""

from typing import Any

import numpy as np

from i3ad_jax.config import AUTOMATIC_NETWORKS, Config
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.plan import Choice, Plan
from i3ad_jax.preprocessing.preprocessing import Preprocessing

FILES = TrainingFiles({"train/good/0.png": 64 * "0"}, {"train/good/1.png": 64 * "1"})


def made_up_plan(config: Config[Any, Any]) -> Plan:
    """Whole images in pixel values, and the two-stage generator."""
    size = config.data.image_size
    grey = np.full((1, size, size, 3), 127, np.uint8)
    preprocessing = Preprocessing.learn(grey, grey, side=size, levelling="no", centre="none")
    chosen = dict(zip(AUTOMATIC_NETWORKS, ("whole", "two_stage"), strict=True))
    own = config.flat()
    choices = {name: Choice(value, "for a test") for name, value in chosen.items() if name in own}
    return Plan(config, choices, preprocessing, FILES)

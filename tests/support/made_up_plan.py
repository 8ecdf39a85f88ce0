"""A plan of images that never were: for runs that nothing is trained in."""

from dataclasses import replace
from typing import Any

import numpy as np

from i3ad_jax.config import AUTOMATIC_NETWORKS, Config
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.plan import Choice, Plan, choose_sizes
from i3ad_jax.preprocessing.preprocessing import Preprocessing

FILES = TrainingFiles({"train/good/0.png": 64 * "0"}, {"train/good/1.png": 64 * "1"})


def made_up_plan(config: Config[Any, Any]) -> Plan:
    """Whole images in pixel values, and by default the two-stage generator."""
    side = config.data.image_size
    sizes = choose_sizes(config, "whole", [(side, side)])
    grey = np.full((1, *sizes.working, 3), 127, np.uint8)
    preprocessing = Preprocessing.learn(grey, grey, side=side, levelling="no", centre="none")
    preprocessing = replace(preprocessing, seen=sizes.seen, levels=sizes.levels)
    chosen = dict(zip(AUTOMATIC_NETWORKS, ("whole", "two_stage"), strict=True))
    own = config.flat()
    chosen |= {name: own[name] for name in chosen if own.get(name, "auto") != "auto"}
    choices = {name: Choice(value, "for a test") for name, value in chosen.items() if name in own}
    return Plan(config, choices, preprocessing, FILES)

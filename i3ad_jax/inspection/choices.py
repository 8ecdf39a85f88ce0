"""What a training would choose for a data set, by the measurements that a training makes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Size
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.inspection.records import SIDE, Pixels, Record
from i3ad_jax.preparation import choose_generator, choose_view, learn_preprocessing, size_for_tiles


@dataclass(frozen=True)
class Choices:
    """What a training would choose.

    Attributes:
        config: its settings, with the view and the generator that were chosen.
        size: the working size.
        reasons: the figures of `preprocessing.json`, of whole images as thumbnails.
    """

    config: Config[Any, Any]
    size: Size
    reasons: dict[str, Any]


def predict_choices(config: Config[Any, Any], images: Sequence[tuple[Record, Pixels]]) -> Choices:
    """What a training with these settings would choose for these normal images.

    Args:
        config: the settings, of a method with a generator.
        images: at least 2.
    """
    sizes = [pixels.size for _, pixels in images]
    split = replace(
        Split.of_normal_images(np.stack([pixels.thumbnail for _, pixels in images])),
        paths=tuple(record.path for record, _ in images),
        original_sizes=tuple(sizes),
    )
    files = TrainingFiles.choose(split, fraction=config.data.held_out, seed=config.seed)
    thumbnails = config.with_settings({"image_size": SIDE, "view": "whole"})
    small = learn_preprocessing(thumbnails, *files.select(split))
    if config.preprocessing.view == "auto":
        config = config.with_settings({"view": choose_view(small, sizes)})
    whole = config.preprocessing.view == "whole"
    if config.training.generator == "auto":
        config = config.with_settings({"generator": choose_generator(small) if whole else "two_stage"})
    size = (config.side, config.side) if whole else size_for_tiles(config, sizes)
    return Choices(config, size, dict(small.reasons))

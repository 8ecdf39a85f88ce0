"""Choices of a training for a data set, by the measurements that a training makes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from i3ad_jax.check.records import SIDE, Pixels, Record
from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Split
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.plan import Sizes, choose_generator, choose_sizes, choose_view, learn_preprocessing


@dataclass(frozen=True)
class Choices:
    """Choices of a training.

    Attributes:
        config: its settings, with the view and the generator that were chosen.
        sizes: sizes at which images are seen.
        reasons: figures of the preprocessing, of whole images as thumbnails.
    """

    config: Config[Any, Any]
    sizes: Sizes
    reasons: dict[str, Any]


def predict_choices(config: Config[Any, Any], images: Sequence[tuple[Record, Pixels]]) -> Choices:
    """Return the choices of a training with these settings for these normal images.

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
    small = learn_preprocessing(config, *files.select(split), side=SIDE)
    view = choose_view(config, small, sizes)
    chosen = {"view": view, **choose_generator(config, small, whole=view.value == "whole")}
    seen = choose_sizes(config, view.value, sizes)
    config = config.with_settings({name: choice.value for name, choice in chosen.items()})
    return Choices(config, seen, dict(small.reasons))

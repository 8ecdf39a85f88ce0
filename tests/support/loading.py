"""Datasets of trees on disk, loaded or refused."""

from pathlib import Path

import numpy as np
import pytest

from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError
from tests.support.layout_trees import HEIGHT, WIDTH


def read_all(data: Dataset) -> Dataset:
    """Read both splits, which are read where they are used otherwise."""
    assert min(len(data.train), len(data.test)) >= 0
    return data


def load(source: Path, layout: str = "auto") -> Dataset:
    return read_all(
        load_dataset(str(source), size=(HEIGHT, WIDTH), aspect="stretch", layout=layout)
    )


def assert_refused(source: Path, *words: object, layout: str = "auto") -> None:
    with pytest.raises(InputError) as caught:
        load(source, layout)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def assert_same_split(split: Split, expected: Split) -> None:
    for name in ("images", "masks", "annotated"):
        np.testing.assert_array_equal(getattr(split, name)[:], getattr(expected, name)[:])
    for name in ("paths", "defects", "hashes", "original_sizes"):
        assert getattr(split, name) == getattr(expected, name)

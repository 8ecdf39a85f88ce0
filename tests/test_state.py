"""States of a method: structure and checksum."""

from typing import Any

import jax
import numpy as np
import pytest

from i3ad_jax.config import default_config
from i3ad_jax.methods.state import fresh_state, state_digest, state_shapes
from tests.conftest import tiny_settings

STATE: dict[str, Any] = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int32(1)}


def test_equal_states_have_one_checksum() -> None:
    assert state_digest(jax.tree.map(np.copy, STATE)) == state_digest(STATE)
    on_device = jax.tree.map(jax.numpy.asarray, STATE)
    assert state_digest(on_device) == state_digest(STATE)
    by_columns = {**STATE, "a": np.asfortranarray(STATE["a"])}
    assert state_digest(by_columns) == state_digest(STATE)


@pytest.mark.parametrize(
    "other",
    [
        {**STATE, "a": np.nextafter(STATE["a"], np.float32(9), dtype=np.float32)},
        {**STATE, "a": STATE["a"].reshape(3, 2)},
        {**STATE, "a": STATE["a"].view(np.int32)},
        {"a": STATE["a"], "c": STATE["b"]},
        {"a": STATE["a"]},
    ],
    ids=["a bit", "a shape", "a type", "a name", "a leaf"],
)
def test_any_difference_changes_the_checksum(other: dict[str, Any]) -> None:
    assert state_digest(other) != state_digest(STATE)


def test_fresh_states_have_the_structure_and_follow_the_key() -> None:
    config = default_config("l2_ae").with_settings({**tiny_settings("l2_ae"), "view": "whole"})
    method = config.build()
    shapes: Any = state_shapes(method)
    first, same, other = (fresh_state(jax.random.key(seed), method) for seed in (0, 0, 1))
    assert jax.tree.structure(first) == jax.tree.structure(shapes)
    for leaf, shape in zip(jax.tree.leaves(first), jax.tree.leaves(shapes), strict=True):
        assert (leaf.shape, leaf.dtype) == (shape.shape, shape.dtype)
    assert state_digest(first) == state_digest(same) != state_digest(other)

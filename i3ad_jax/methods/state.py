# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""State of a method: fresh, its structure, and its checksum."""

import hashlib
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np

from i3ad_jax.methods.method import Method, State
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.configuration import configured
from i3ad_jax.shapes import PRNGKey


class Trained(NamedTuple):
    """A trained method and the network inputs it was trained with.

    Attributes:
        method: settings and networks.
        state: weights.
        preprocessing: mapping from pixels to the networks' input.
        step: number of training steps that led to the weights.
    """

    method: Method
    state: State
    preprocessing: Preprocessing
    step: int


def fresh_state(key: PRNGKey, method: Method) -> State:
    """Return fresh weights and optimisers, as `method.init` does."""
    return _init(method, key)


@cache
@configured  # whoever asks first decides what is kept
def state_shapes(method: Method) -> State:
    """Return the structure of the method's states, with `jax.ShapeDtypeStruct` leaves."""
    return jax.eval_shape(lambda: method.init(jax.random.key(0)))


def state_digest(state: Any) -> str:
    """SHA-256, in hex, of all arrays of a state, with their names, types and shapes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        name, array = jax.tree_util.keystr(path), np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@jit(optimise=False, static_argnums=0)  # mostly random numbers
def _init(method: Method, key: PRNGKey) -> State:
    return method.init(key)

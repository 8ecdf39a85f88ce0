"""JAX's options as this package needs them, whatever the user's process has set.

The package computes in JAX's default types, and its results depend on the default random numbers.
`configured` is for the functions that users call. It sets the options for the duration of the call
and in its thread alone, so the user's own code, callbacks among it, keeps its options.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import isgeneratorfunction, unwrap
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import numpy as np

from i3ad_jax.errors import InputError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _Option(NamedTuple):
    """An option of JAX: the values that the package can work with, and its context manager."""

    allowed: tuple[Any, ...]
    context: Callable[[Any], Any]


_GUARDS = (None, "allow")
# The precision of products, the default device and the offset of seeds stay the user's: that
# results depend on them is what they are for.
_OPTIONS = {
    "jax_enable_x64": _Option((False,), jax.enable_x64),
    "jax_numpy_rank_promotion": _Option(("allow",), jax.numpy_rank_promotion),
    "jax_numpy_dtype_promotion": _Option(("standard",), jax.numpy_dtype_promotion),
    "jax_threefry_partitionable": _Option((True,), jax.threefry_partitionable),
    "jax_default_prng_impl": _Option(("threefry2x32",), jax.default_prng_impl),
    "jax_disable_jit": _Option((False,), jax.disable_jit),
    "jax_debug_nans": _Option((False,), jax.debug_nans),
    "jax_debug_infs": _Option((False,), jax.debug_infs),
    "jax_transfer_guard_host_to_device": _Option(_GUARDS, jax.transfer_guard_host_to_device),
    "jax_transfer_guard_device_to_device": _Option(_GUARDS, jax.transfer_guard_device_to_device),
    "jax_transfer_guard_device_to_host": _Option(_GUARDS, jax.transfer_guard_device_to_host),
}
_NO_MESH = jax.sharding.Mesh(np.empty((), object), ())


def configure_process() -> None:
    """Set the options for all of this process. For commands, whose process is the package's own.

    Raises:
        InputError: the process is a fork of one that used JAX.
    """
    _check_fork()
    for name in _differing():
        jax.config.update(name, _OPTIONS[name].allowed[-1])


@contextmanager
def configuration() -> Iterator[None]:
    """Set the options in this thread for the block's time.

    Raises:
        InputError: the process is a fork of one that used JAX.
    """
    _check_fork()
    with _options():
        yield


def configured(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return the function with its calls inside `configuration`.

    Of a generator function each step is inside; its caller's code between the steps is not.
    """
    if isgeneratorfunction(unwrap(function)):  # a type checker may have wrapped it

        @wraps(function)
        def steps(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Iterator[Any]:
            inner: Any = function(*arguments, **keywords)
            try:
                while True:
                    with configuration():
                        try:
                            item = next(inner)
                        except StopIteration:
                            return
                    yield item
            finally:
                with _options():
                    inner.close()

        return steps  # pyright: ignore[reportReturnType]

    @wraps(function)
    def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
        with configuration():
            return function(*arguments, **keywords)

    return call


@contextmanager
def _options() -> Iterator[None]:
    with ExitStack() as stack:
        # An option set to the value that it has would still make JAX trace programs again.
        for name in _differing():
            option = _OPTIONS[name]
            stack.enter_context(option.context(option.allowed[-1]))
        if not jax.sharding.get_abstract_mesh().empty:  # the package has meshes of its own
            stack.enter_context(jax.set_mesh(_NO_MESH))
        yield


def _differing() -> list[str]:
    """Return the names of the options that the package cannot work with in this thread."""

    def value(name: str) -> Any:
        found = getattr(jax.config, name)
        return getattr(found, "value", found)  # an enumeration, for some options

    return [name for name, option in _OPTIONS.items() if value(name) not in option.allowed]


@dataclass
class _Fork:
    """Use of JAX at the last fork that this process made, and at the one that it came from."""

    made_in_use: bool = False
    came_in_use: bool = False

    def note(self) -> None:
        """Before a fork, in the parent."""
        devices = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
        try:
            jax.config.update("jax_num_cpu_devices", devices + 1)
        except RuntimeError:  # JAX refuses it once it has devices, and with them its threads
            self.made_in_use = True
        else:
            jax.config.update("jax_num_cpu_devices", devices)

    def keep(self) -> None:
        """After a fork, in the child."""
        self.came_in_use = self.came_in_use or self.made_in_use


_FORK = _Fork()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_FORK.note, after_in_child=_FORK.keep)


def _check_fork() -> None:
    if _FORK.came_in_use:
        raise InputError(
            "JAX does not work in a fork of a process that used it; start processes with"
            ' multiprocessing.get_context("spawn"), or with joblib'
        )

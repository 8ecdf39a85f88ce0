# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Test-time programs that do not fit in memory: again with half as many images at a time."""

import gc
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from i3ad_jax.errors import OutOfMemoryError, SmallerBatchWarning
from i3ad_jax.methods.method import Method
from i3ad_jax.runtime.memory import is_out_of_memory
from i3ad_jax.runtime.throughput import Throughput

Result = TypeVar("Result")
_FITTING: dict[Method, Throughput] = {}
"""Settings that replace those of a method, since these did not fit in memory."""


def within_memory(method: Method, work: Callable[[Method], Result]) -> Result:
    """Return the result of `work`, with half as many images at a time until it fits in memory.

    Later calls for the same method start with the settings that fitted.

    Args:
        method: its `throughput` is halved.
        work: from the method, or an equal one with a smaller `throughput`, to results that do not
            depend on `throughput`. It is called again from its start.

    Raises:
        OutOfMemoryError: a single image at a time does not fit.

    Warns:
        SmallerBatchWarning: for each halving.
    """
    while True:
        throughput = _FITTING.get(method, method.throughput)
        try:
            return work(replace(method, throughput=throughput))
        except (RuntimeError, ValueError, MemoryError) as error:  # of JAX either, and NumPy's
            if not is_out_of_memory(error):
                raise
        # After the handler, as the error's traceback keeps the arrays of the failed call.
        gc.collect()
        smaller = throughput.halved()
        if smaller == throughput:
            raise OutOfMemoryError(
                f"out of memory with {throughput.describe()}; end other processes that use the"
                " device, or train with a lower --image-size or --width"
            )
        _FITTING[method] = smaller
        warnings.warn(
            f"out of memory with {throughput.describe()}; continuing with {smaller.describe()},"
            " which changes speed, not results",
            SmallerBatchWarning,
            stacklevel=2,
        )

"""Ray: an engine that runs work in processes of this machine or of many."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from i3ad_jax.errors import InputError, optional_package

_SECONDS_TO_CONNECT = 10


def find_ray() -> Any:
    """The package.

    Raises:
        InputError: it is not installed.
    """
    return optional_package("ray", "--engine ray: Ray is missing: pip install 'i3ad_jax[ray]'")


@contextmanager
def cluster(ray: Any) -> Iterator[None]:
    """The cluster that RAY_ADDRESS names, or one of this machine alone, for the block's time."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    address = os.environ.get("RAY_ADDRESS", "")
    own = {} if address else {"include_dashboard": False}
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        if port.isdecimal():  # Ray itself would try for more than ten minutes
            socket.create_connection((host, int(port)), timeout=_SECONDS_TO_CONNECT).close()
        ray.init(address=address or "local", log_to_driver=False, logging_level="error", **own)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--engine ray: no cluster at RAY_ADDRESS {address!r} ({error})"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()

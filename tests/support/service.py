"""A detector behind HTTP on loopback."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import uvicorn
from PIL import Image

from i3ad_jax.detector import Detector
from i3ad_jax.serve.app import Limits, create_app

LIMITS = Limits(max_megabytes=1, max_megapixels=1, max_waiting=40, time_limit=1.5)


@contextmanager
def serving(detector: Detector, limits: Limits, token: str | None = None) -> Iterator[int]:
    """The port of a server that runs during the block."""
    app = create_app(detector, limits=limits, token=token)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def png(seed: int, size: tuple[int, int] = (40, 48)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(
        file, "png"
    )
    return file.getvalue()

"""A detector behind HTTP on loopback."""

import http.client
import io
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from i3ad_jax.detector import Detector
from i3ad_jax.serve.app import create_app
from i3ad_jax.serve.uploads import Limits

LIMITS = Limits(max_megabytes=1, max_megapixels=1, max_waiting=40, time_limit=1.5)

Answer = tuple[int, Any]


@contextmanager
def serving(detector: Detector, limits: Limits, token: str | None = None) -> Iterator[int]:
    """The port of a server that runs during the block."""
    app = create_app(detector, limits=limits, token=token)
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="on", log_level="error"))
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


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """Status of an answer, and its JSON or bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(
        method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
    )
    response = connection.getresponse()
    content = response.read()
    is_json = response.headers.get_content_type() == "application/json"
    connection.close()
    return response.status, json.loads(content) if is_json else content


def exchange(port: int, sent: bytes) -> bytes:
    """Answer of a server to bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def form(files: list[tuple[str, bytes]], field: str = "images") -> tuple[bytes, str]:
    """Body and content type of a form."""
    boundary = uuid.uuid4().hex
    parts = [
        f"--{boundary}\r\n".encode()
        + f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\n'.encode()
        + b"Content-Type: image/png\r\n\r\n"
        + content
        + b"\r\n"
        for name, content in files
    ]
    return b"".join(
        parts
    ) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

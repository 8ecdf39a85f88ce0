"""`python -m benchmarks.serving`: latency, memory and answers of the service with many clients."""

import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

from benchmarks.stopwatch import machine, median_seconds
from benchmarks.tables import publish
from i3ad_jax import Detector, command_line
from i3ad_jax.data.inputs import find_images
from i3ad_jax.errors import InputError

PROGRAM = "python -m benchmarks.serving"
COLUMNS = (
    *("clients", "requests", "failures", "requests_per_second", "p50_ms", "p99_ms"),
    *("chunk", "chunk_ms", "largest_difference", "compilations", "megabytes_warm", "megabytes_end"),
)
WARM = 200  # requests after which nothing may be compiled and memory may not grow
STARTED = 60  # seconds within which the service must answer


@dataclass(frozen=True)
class Flags:
    """Start `i3ad serve`, send it images from many clients; write serving.json and .md to OUT.

    All clients send at once. Clients and service share this machine's cores. `chunk_ms` is the time
    that the detector takes for as many images as it scores at once, without HTTP;
    `largest_difference` is between an answer and Detector.score.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a trained run."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, or folders of them: sent as JPEG, again and again."""
    out: Path = Path("serving")
    """Folder for the table."""
    requests: int = 10_000
    """Requests in all, of one image each."""
    clients: int = 32
    """Connections that each send a request, wait for the answer and send the next."""
    port: int = 8765
    """A free port of this machine."""


@dataclass
class Load:
    """Measurements of the clients.

    Attributes:
        seconds: from a request's first byte to its answer's last, by the request's number.
        differences: of the scores to those expected, relative where they are above 1.
        failures: status, or the error, of each request that was not answered by scores.
        warm_bytes, compilations_warm: the service's memory, and what it had compiled, after `WARM`
            requests.
    """

    seconds: list[float] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    warm_bytes: int = 0
    compilations_warm: int = 0


@dataclass(frozen=True)
class Service:
    """The process that serves, and its log."""

    process: subprocess.Popen
    log: Path

    def resident_bytes(self) -> int:
        """Resident bytes of its memory, now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return 1024 * int(line.split()[1])

    def compilations(self) -> int:
        """Programs that JAX has compiled so far."""
        return self.log.read_text().count("Finished XLA compilation")


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, sends requests, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    images = [_as_jpeg(path) for path in find_images(flags.images).images]
    detector = Detector.load(flags.run)
    expected = [prediction.scores for prediction in detector.score(images)]
    chunk = [images[i % len(images)] for i in range(detector.chunk)]
    chunk_seconds = median_seconds(lambda: detector.score(chunk), label="a chunk")
    with serving(flags) as service:
        start = time.perf_counter()
        load = send(flags, images, expected, service)
        seconds, end_bytes = time.perf_counter() - start, service.resident_bytes()
        compilations = service.compilations() - load.compilations_warm
    answered = np.array(load.seconds)
    row = {
        "clients": flags.clients,
        "requests": flags.requests,
        "failures": len(load.failures),
        "requests_per_second": flags.requests / seconds,
        "p50_ms": 1e3 * float(np.quantile(answered, 0.5)),
        "p99_ms": 1e3 * float(np.quantile(answered, 0.99)),
        "chunk": detector.chunk,
        "chunk_ms": 1e3 * chunk_seconds,
        "largest_difference": max(load.differences),
        "compilations": compilations,
        "megabytes_warm": load.warm_bytes / 1e6,
        "megabytes_end": end_bytes / 1e6,
    }
    notes = {"images": len(images), "first failures": load.failures[:3] or "none"}
    publish(flags.out, "serving", COLUMNS, [row], notes={**notes, **machine()})


@contextmanager
def serving(flags: Flags) -> Iterator[Service]:
    """The service in a process of its own, which has answered once; told to stop in the end.

    Raises:
        InputError: it does not answer.
    """
    command = [sys.executable, "-m", "i3ad_jax.serve", str(flags.run), "--port", str(flags.port)]
    environment = {**os.environ, "JAX_LOG_COMPILES": "1"}
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment)
        try:
            deadline = time.monotonic() + STARTED
            while not _answers(flags.port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise InputError(
                        f"--port {flags.port}: the service does not answer; is the port in use?"
                    )
                time.sleep(0.1)
            yield Service(process, Path(log.name))
        finally:
            process.terminate()
            process.wait()


def send(
    flags: Flags,
    images: Sequence[bytes],
    expected: Sequence[Mapping[str, float]],
    service: Service,
) -> Load:
    """Sends all requests from several threads, each with a connection that it keeps."""
    load, lock, numbers = Load(), threading.Lock(), iter(range(flags.requests))
    progress = tqdm(total=flags.requests, desc="serve", unit="request")

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", flags.port, timeout=STARTED)
        while True:
            with lock:
                number = next(numbers, None)
                if number == WARM:
                    load.warm_bytes = service.resident_bytes()
                    load.compilations_warm = service.compilations()
            if number is None:
                connection.close()
                return
            which, start = number % len(images), time.perf_counter()
            try:
                connection.request("POST", "/score", images[which], {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                body, problem = answer.read(), None if answer.status == 200 else str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                body, problem = b"", repr(error)
                connection.close()
            seconds = time.perf_counter() - start
            with lock:
                progress.update()
                if problem is not None:
                    load.failures.append(problem)
                    continue
                load.seconds.append(seconds)
                load.differences.append(_difference(json.loads(body), expected[which]))

    threads = [threading.Thread(target=client) for _ in range(flags.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.close()
    return load


def _difference(answer: Mapping[str, Any], expected: Mapping[str, float]) -> float:
    (image,) = answer["images"]
    return max(
        abs(image["scores"][name] - value) / max(abs(value), 1) for name, value in expected.items()
    )


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STARTED)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _as_jpeg(path: Path) -> bytes:
    data = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(data, "jpeg", quality=90)
    return data.getvalue()


if __name__ == "__main__":
    command_line.run(main)

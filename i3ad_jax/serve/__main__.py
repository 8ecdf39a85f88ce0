"""`python -m i3ad_jax.serve`: a trained run behind HTTP."""

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from i3ad_jax import command_line
from i3ad_jax.calibration.verdict import VerdictOptions
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError, reason_of
from i3ad_jax.runtime.accelerator import share_gpu
from i3ad_jax.settings import SettingError

PROGRAM = "python -m i3ad_jax.serve"
TOKEN = "I3AD_TOKEN"
SECONDS_TO_END = 30  # for the requests at hand
_NO_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line and serves until the process is told to stop."""
    try:
        import uvicorn

        from i3ad_jax.serve.app import create_app
        from i3ad_jax.serve.uploads import Limits
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install 'i3ad_jax[serve]'") from error

    @dataclass(frozen=True)
    class Flags:
        """Score images that clients upload: POST /score, and a page to try it at /.

        On another address than loopback clients must send a token, which the environment variable
        I3AD_TOKEN gives. SIGTERM and Ctrl-C end the service once the requests at hand are answered.
        """

        run: tyro.conf.Positional[Path]
        """Folder of a trained run."""
        host: str = "127.0.0.1"
        """Address to listen on."""
        port: int = 8000
        """Port to listen on; 0 takes a free one."""
        verdict: VerdictOptions = field(default_factory=VerdictOptions)
        limits: Limits = field(default_factory=Limits)

    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    if not 0 <= flags.port < 2**16:
        raise SettingError("port", flags.port, "must be at least 0 and at most 65535")
    token = os.environ.get(TOKEN) or None
    if token is None and not _is_loopback(flags.host):
        raise SettingError(
            "host",
            flags.host,
            f"others could reach it: set {TOKEN} to a secret that clients must send",
        )
    if token is not None and not (
        token.isascii() and token.isprintable() and token == token.strip()
    ):
        raise InputError(
            f"{TOKEN}: HTTP cannot carry it; use ASCII characters without spaces at the ends"
        )
    share_gpu()
    command_line.warn_of_unused_gpu()
    sockets = listen(flags.host, flags.port)
    detector = Detector.load(flags.run)
    detector = replace(detector, verdict=flags.verdict.over(detector.verdict))
    print(detector.rule.describe())
    app = create_app(detector, limits=flags.limits, token=token)

    class Server(uvicorn.Server):
        """Server that prints its address once it answers."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Starts, then prints."""
            await super().startup(sockets=sockets)
            print(f"Listening on {' and '.join(map(_url, sockets or []))}", flush=True)

    settings = uvicorn.Config(
        app,
        lifespan="on",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=SECONDS_TO_END,
    )
    server = Server(settings)
    with suppress(KeyboardInterrupt):  # the server raises it again at its end
        server.run(sockets)


def listen(host: str, port: int) -> list[socket.socket]:
    """Return sockets that listen on all addresses of `host`; port 0 takes a free port.

    Clients that connect wait until a server accepts them.

    Raises:
        InputError: the host is unknown or not this machine, or the port cannot be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SettingError(
            "host", host, f"not found ({reason_of(error)}); name an address of this machine"
        ) from None
    sockets: list[socket.socket] = []
    missing: list[OSError] = []
    try:
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            try:
                sockets.append(
                    socket.create_server((*address[:1], port, *address[2:]), family=family)
                )
            except OSError as error:
                if error.errno not in _NO_ADDRESS:
                    raise
                missing.append(error)
            else:
                port = sockets[0].getsockname()[1]
        if not sockets:
            raise missing[0]
    except OSError as error:
        for each in sockets:
            each.close()
        raise _refused(host, port, error) from None
    return sockets


def _refused(host: str, port: int, error: OSError) -> SettingError:
    """Return the error of an address that cannot be listened on."""
    if error.errno in _NO_ADDRESS:
        problem = "not an address of this machine; 127.0.0.1 is for this machine, 0.0.0.0 for all"
        return SettingError("host", host, problem)
    if error.errno == errno.EADDRINUSE:
        problem = f"in use on {host}; stop what listens there, or choose another (0: any free one)"
    elif error.errno == errno.EACCES:
        problem = "you may not listen there; choose one above 1023 (0: any free one)"
    else:
        problem = f"cannot listen there ({reason_of(error)}); choose another (0: any free one)"
    return SettingError("port", port, problem)


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    command_line.run(main)

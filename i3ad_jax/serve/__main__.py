"""`python -m i3ad_jax.serve`: a trained run behind HTTP."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import tyro

from i3ad_jax import command_line
from i3ad_jax.calibration.verdict import VerdictSettings
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.settings import SettingError

PROGRAM = "python -m i3ad_jax.serve"
TOKEN = "I3AD_TOKEN"


def main(arguments: Sequence[str]) -> None:
    """Parses the command line and serves until the process is told to stop."""
    try:
        import uvicorn

        from i3ad_jax.serve.app import Limits, create_app
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
        """Port to listen on."""
        verdict: VerdictSettings = field(default_factory=VerdictSettings)
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
    detector = Detector.load(flags.run)
    detector = replace(detector, verdict=flags.verdict.over(detector.verdict))
    print(detector.rule.describe())
    app = create_app(detector, limits=flags.limits, token=token)
    uvicorn.run(
        app, host=flags.host, port=flags.port, access_log=False, timeout_graceful_shutdown=30
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    command_line.run(main)

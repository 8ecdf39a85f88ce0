"""`python -m i3ad_jax.devices`: versions, and what JAX computes on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from i3ad_jax import command_line
from i3ad_jax.runs.environment import environment
from i3ad_jax.runtime.accelerator import share_gpu

PROGRAM = "python -m i3ad_jax.devices"


@dataclass(frozen=True)
class Flags:
    """Show the package's and its libraries' versions, and what JAX computes on."""


def main(arguments: Sequence[str]) -> None:
    """Print what `environment.json` of a run started now would say, as a table."""
    command_line.parse(Flags, arguments, program=PROGRAM)
    share_gpu()
    command_line.warn_of_unused_gpu()
    about = environment()
    devices = Counter(about.pop("devices"))
    packages = about.pop("packages")
    rows = {
        "devices": ", ".join(f"{count} x {kind}" for kind, count in devices.items()),
        **{name.replace("_", " "): value for name, value in about.items()},
        **packages,
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {'-' if value is None else value}")


if __name__ == "__main__":
    command_line.run(main)

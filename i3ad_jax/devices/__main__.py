"""`python -m i3ad_jax.devices`: versions, and what JAX computes on."""

from collections.abc import Sequence
from dataclasses import dataclass

from i3ad_jax import command_line
from i3ad_jax.runs.environment import environment

PROGRAM = "python -m i3ad_jax.devices"


@dataclass(frozen=True)
class Flags:
    """Show the package's and its libraries' versions, and what JAX computes on."""


def main(arguments: Sequence[str]) -> None:
    """Prints what `environment.json` of a run started now would say."""
    command_line.parse(Flags, arguments, program=PROGRAM)
    for name, value in environment().items():
        print(f"{name.replace('_', ' ')}: {value}")


if __name__ == "__main__":
    command_line.run(main)

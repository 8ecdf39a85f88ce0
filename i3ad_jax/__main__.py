"""`i3ad`, or `python -m i3ad_jax`: all commands under one name."""

import gc
import importlib
import signal
import sys
from pathlib import Path

from i3ad_jax.errors import did_you_mean
from i3ad_jax.runtime.output import checked_output

COMMANDS = {
    "check": "validate a data set and estimate training time and memory",
    "pack": "decode a data set once, for trainings on more images than fit in memory",
    "train": "train a method on normal images, test it, write a report",
    "evaluate": "test a trained run again, with other settings or other images",
    "predict": "score images without labels by a trained run",
    "calibrate": "compute a run's thresholds again from new normal images, without training",
    "export": "write a run as one program that runs without this package",
    "report": "write the report of a run again, or one that compares runs",
    "serve": "score images that clients upload, by HTTP",
    "devices": "show versions and what JAX computes on",
}


def main() -> None:
    """Runs the command that the first argument names; each is a package of its name.

    It is imported only then: `--help` and `--version` need none of them.
    """
    name, *rest = sys.argv[1:] or ["--help"]
    if name not in COMMANDS:
        with checked_output():
            _answer(name)
        return
    # Imports make a million objects that stay: looking for garbage among them takes a fifth of a
    # start.
    gc.set_threshold(100_000)
    # Packages cannot be interrupted while they are imported: Ctrl-C ends the process at once.
    if (interrupt := signal.getsignal(signal.SIGINT)) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from i3ad_jax import command_line

    command = importlib.import_module(f"i3ad_jax.{name}.__main__").main
    signal.signal(signal.SIGINT, interrupt)
    sys.argv = [f"{_program()} {name}", *rest]
    command_line.run(command)


def _answer(name: str) -> None:
    """Print the help or the version, or exit with code 2 where `name` is something else."""
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        from i3ad_jax import __version__

        print(f"i3ad_jax {__version__}")
    else:
        near = did_you_mean(name, COMMANDS)
        print(
            f"error: {name}: no such command; one of {', '.join(COMMANDS)}{near}", file=sys.stderr
        )
        sys.exit(2)


def _program() -> str:
    """Return the program as the user called it."""
    return "python -m i3ad_jax" if Path(sys.argv[0]).name == "__main__.py" else "i3ad"


def _help() -> str:
    program, width = _program(), max(map(len, COMMANDS))
    return "\n".join(
        [
            f"usage: {program} COMMAND ...",
            "",
            "Find defects in images of surfaces and objects after seeing only good ones.",
            "",
            *(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()),
            "",
            f"{program} COMMAND --help lists the options of a command;"
            f" {program} --version prints the version.",
        ]
    )


if __name__ == "__main__":
    main()

"""`i3ad`, or `python -m i3ad_jax`: all commands under one name."""

import gc
import importlib
import signal
import sys

from i3ad_jax.runtime.output import checked_output

COMMANDS = {
    "check": "validate a data set and estimate training time and memory",
    "pack": "decode a data set once, for trainings on more images than fit in memory",
    "train": "train a method on normal images, test it, write a report",
    "evaluate": "test a trained run again, with other settings or other images",
    "predict": "score images without labels by a trained run",
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
    sys.argv = [f"i3ad {name}", *rest]
    command_line.run(command)


def _answer(name: str) -> None:
    """Print the help or the version, or exit with code 2 where `name` is something else."""
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        from i3ad_jax import __version__

        print(f"i3ad_jax {__version__}")
    else:
        print(f"error: {name}: no such command; one of {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)


def _help() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: i3ad COMMAND ...",
            "",
            "Find defects in images of surfaces and objects after seeing only good ones.",
            "",
            *(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()),
            "",
            "i3ad COMMAND --help lists the options of a command;"
            " i3ad --version prints the version.",
        ]
    )


if __name__ == "__main__":
    main()

"""`python -m benchmarks.reading`: compare training on images in memory and read as needed.

This shows whether training waits for images that are read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks.stopwatch import machine, paired
from benchmarks.tables import publish
from i3ad_jax import command_line
from i3ad_jax.config import default_config
from i3ad_jax.data.stored import Rows
from i3ad_jax.errors import InputError
from i3ad_jax.plan import Plan, resolve
from i3ad_jax.training.steps import training_steps

PROGRAM = "python -m benchmarks.reading"
COLUMNS = ("images", "number", "steps_per_second", "ratio_to_memory")
STEPS = 100  # that are clocked together: five reads ahead


@dataclass(frozen=True)
class Flags:
    """Train on images in memory and in a file, in turns; write reading.json and .md to OUT.

    Both use the same images and take the same steps, so their losses must be the same too.
    """

    data: tyro.conf.Positional[str]
    """Data set in any form that train takes."""
    out: Path = Path("reading")
    """Folder for the table."""
    preset: str = "quick"
    """Preset of the training."""
    rounds: int = 5
    """Times that each takes a hundred steps."""


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, times, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    config = default_config("i3ad", preset=flags.preset).with_settings(
        {"data": flags.data, "steps": (flags.rounds + 1) * STEPS}
    )
    resolved = resolve(
        config, lambda size: config.data.load(size=size, memory=0, progress=True).train
    )
    stored = resolved.images.images
    ways: dict[str, Rows] = {"in memory": stored[:], "in a file": stored}
    losses: dict[str, list[Any]] = {name: [] for name in ways}
    runs = {name: steps(resolved.plan, images, losses[name]) for name, images in ways.items()}
    for run in runs.values():
        run()  # compiles
    seconds = paired(runs, rounds=flags.rounds, label="steps")
    if losses["in memory"] != losses["in a file"]:
        raise InputError(f"--data {flags.data}: trainings from memory and from a file differ")
    best = float(np.median(seconds["in memory"]))
    table = [
        {
            "images": name,
            "number": len(ways[name]),
            "steps_per_second": STEPS / float(np.median(times)),
            "ratio_to_memory": best / float(np.median(times)),
        }
        for name, times in seconds.items()
    ]
    publish(flags.out, "reading", COLUMNS, table, notes=machine())


def steps(plan: Plan, images: Rows, losses: list[Any]) -> Callable[[], None]:
    """Return a training that takes `STEPS` more steps at each call, and appends its last losses."""
    training = training_steps(plan, images, every=(STEPS,))

    def run() -> None:
        step = next(step for step in training if step.number % STEPS == 0)
        losses.append({name: float(value) for name, value in step.metrics.items()})

    return run


if __name__ == "__main__":
    command_line.run(main)

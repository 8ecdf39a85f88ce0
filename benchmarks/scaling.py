"""`python -m benchmarks.scaling`: the loop's cost by batch, image size, iterations and devices."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure

from benchmarks.stopwatch import bytes_needed, machine, median_seconds
from benchmarks.subject import Subject, untrained
from benchmarks.tables import publish
from i3ad_jax import command_line
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError
from i3ad_jax.runtime.devices import copied_to

PROGRAM = "python -m benchmarks.scaling"
COLUMNS = ("axis", "value", "seconds_per_image", "peak_memory_bytes")
LABELS = {
    "batch": "images together",
    "size": "pixels a side",
    "iterations": "iterations",
    "devices": "devices",
}
BATCH, ITERATIONS, QUEUE = 4, 3, 16  # where an axis does not say otherwise


@dataclass(frozen=True)
class Flags:
    """Time the loop of fixed length along one axis at a time; write scaling.json, .md, .png to OUT.

    On a CPU several devices are simulated on the same cores: that shows that it works, not that it
    is faster.
    """

    out: Path = Path("scaling")
    """Folder for table and figure."""
    preset: Literal["quick", "paper"] = "quick"
    """Size of the networks, and of the images where no axis says otherwise."""
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    """Images that go through the loop together."""
    sizes: tuple[int, ...] = (64, 128, 256, 512)
    """Sides of the images, four at a time."""
    iterations: tuple[int, ...] = (0, 1, 3, 10, 30)
    """Mask updates, for four images."""
    devices: tuple[int, ...] = (1,)
    """Devices that share a queue of 16 images. On a CPU they are simulated and share its threads,
    which slows the other axes: measure more than one apart, with --batches --sizes --iterations
    left empty."""
    rounds: int = 3
    """Times that each point is measured."""


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, times, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    with suppress(RuntimeError):  # a caller used JAX before: its devices stay as they are
        jax.config.update("jax_num_cpu_devices", max(flags.devices, default=1))
    if max(flags.devices, default=1) > jax.device_count():
        raise InputError(f"--devices {max(flags.devices)}: there are {jax.device_count()} here")
    subject = untrained(default_config("i3ad", preset=flags.preset)).with_iterations(ITERATIONS)
    points = [
        *(("batch", n, partial(fixed, subject, batch=n)) for n in flags.batches),
        *(("size", n, partial(fixed, subject, size=n)) for n in flags.sizes),
        *(("iterations", n, partial(fixed, subject, iterations=n)) for n in flags.iterations),
        *(("devices", n, partial(queue, subject, devices=n)) for n in flags.devices),
    ]
    rows = []
    for axis, value, compile_it in points:
        run, images, memory = compile_it()
        seconds = median_seconds(run, rounds=flags.rounds, label=f"{axis} {value}") / images
        rows.append(dict(zip(COLUMNS, (axis, value, seconds, memory), strict=True)))
    notes = {
        "preset": flags.preset,
        "image_size": subject.method.image_size,
        "batch": BATCH,
        "iterations": ITERATIONS,
    }
    publish(flags.out, "scaling", COLUMNS, rows, notes={**notes, **machine()})
    draw(rows).savefig(flags.out / "scaling.png", dpi=120)


def fixed(
    subject: Subject, *, batch: int = BATCH, size: int | None = None, iterations: int = ITERATIONS
) -> tuple[Callable[[], Any], int, int]:
    """The loop of fixed length compiled, the number of its images and the bytes it needs."""
    subject = subject.with_iterations(iterations)
    images = jnp.asarray(subject.batch(batch))
    if size:
        images = jax.image.resize(images, (batch, size, size, 3), "linear")
    program = subject.compile(subject.fixed_loop(), images)
    memory = bytes_needed(program)
    return lambda: jax.block_until_ready(program(subject.state, images)), batch, memory


def queue(subject: Subject, *, devices: int) -> tuple[Callable[[], Any], int, int]:
    """A queue sharded over devices, as above; the memory is one device's."""
    images = jnp.asarray(subject.batch(QUEUE))
    arguments = copied_to(devices, (subject.state, images, jnp.int32(QUEUE)))
    program = subject.compile(
        subject.queue(slots=BATCH, devices=devices), *arguments[1:], state=arguments[0]
    )
    return lambda: jax.block_until_ready(program(*arguments)), QUEUE, bytes_needed(program)


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Seconds an image along each axis."""
    axes = [axis for axis in LABELS if any(row["axis"] == axis for row in rows)]
    figure = Figure(figsize=(3 * len(axes), 3), layout="constrained")
    for plot, axis in zip(figure.subplots(1, len(axes), squeeze=False)[0], axes, strict=True):
        points = [(row["value"], row["seconds_per_image"]) for row in rows if row["axis"] == axis]
        plot.plot(*zip(*points, strict=True), marker="o")
        if axis != "iterations":
            plot.set_xscale("log", base=2)
        plot.set(xlabel=LABELS[axis], ylabel="seconds an image", ylim=(0, None))
    return figure


if __name__ == "__main__":
    command_line.run(main)

"""`python -m benchmarks.gpu_program`: what a GPU would run, without one.

XLA compiles the loop and a training step for a described card; the figures are of its program.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.hlo import Kernel, Program, kinds
from benchmarks.networks import build
from benchmarks.precision import PRECISIONS, network_dtype
from benchmarks.tables import write
from i3ad_jax import command_line
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.refine import refine
from i3ad_jax.methods.i3ad import I3AD, I3adState
from i3ad_jax.methods.method import Batch, Metrics, PlantedSquares
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.shapes import Image, Images, Map, Maps, PRNGKey

PROGRAM = "python -m benchmarks.gpu_program"
STEPS = 10  # of a call of the training program
LAUNCH = 2e-6  # seconds of a kernel's start
REACHED = 0.9, 0.8  # of a card's memory bandwidth and arithmetic; an H200 reaches these
COLUMNS = (
    *("preset", "work", "dtype", "batch", "card", "kernels", "convolution", "product", "fusion"),
    *("conversion", "broadcast", "GiB", "TFLOP", "floor_ms_per_image", "temporary_GiB", "problem"),
)

Card = Literal["h200", "h100", "a100", "rtx4090"]
Dtype = Literal["bfloat16", "tf32", "float32"]
Row = Mapping[str, Any]


class Peak(NamedTuple):
    """A card's public figures: bytes a second, and dense operations a second by dtype."""

    bandwidth: float
    bfloat16: float
    tf32: float
    float32: float


PEAKS: Mapping[str, Peak] = {
    "h200": Peak(4.8e12, 989e12, 495e12, 67e12),
    "h100": Peak(3.35e12, 989e12, 495e12, 67e12),
    "a100": Peak(2.04e12, 312e12, 156e12, 19.5e12),
    "rtx4090": Peak(1.01e12, 165e12, 82.6e12, 82.6e12),
}


@dataclass(frozen=True)
class Flags:
    """Compile the loop and a training step for GPUs, without one; write gpu_program.json and .md.

    A row has the figures of one pass of the loop, or of one training step: kernels, bytes that they
    read and write, operations, and temporary memory of the whole program. `floor_ms_per_image` is
    the least time of an image, over all passes of the loop or one step. A kernel takes at least 2
    us for its start, and its bytes at 90 % of the card's bandwidth or its operations at 80 % of its
    arithmetic, whichever is longer. Nothing is timed: the card chooses among cuDNN's algorithms.

    Requires JAX's CUDA plug-in (pip install 'jax[cuda13]'), no driver.
    """

    out: Path = Path("gpu_program")
    """Folder for the table."""
    preset: tuple[Literal["paper", "quick", "standard"], ...] = ("paper",)
    """Sizes of images and networks."""
    work: tuple[Literal["loop", "train"], ...] = ("loop", "train")
    """The loop of fixed length, or a training step."""
    dtype: tuple[Dtype, ...] = ("bfloat16", "tf32")
    """Arithmetic of the networks."""
    batch: tuple[int, ...] = ()
    """Images together; by default 64 and 1 in the loop and 8 in a training step."""
    card: tuple[Card, ...] = ("h200", "h100", "a100", "rtx4090")
    """Cards to compile for."""
    json: bool = False
    """Print a JSON object a row instead of a table."""


class Job(NamedTuple):
    """Program that a row describes."""

    preset: str
    work: str
    dtype: str
    batch: int
    card: str


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, compiles, prints a row or a table, and writes the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    # The plug-in asks for a driver otherwise.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    jax.config.update("jax_enable_compilation_cache", False)  # it cannot be read without a GPU
    rows = []
    for job in jobs(flags):
        rows.append(measure(job))
        if flags.json:
            print(json.dumps(rows[-1]), flush=True)
    notes = {"jax": jax.__version__, "xla_flags": os.environ.get("XLA_FLAGS", "none")}
    table = write(flags.out, "gpu_program", COLUMNS, [readable(row) for row in rows], notes=notes)
    if not flags.json:
        print(table)


def jobs(flags: Flags) -> Iterator[Job]:
    """The programs of the rows, in the table's order."""
    for preset in flags.preset:
        for work in flags.work:
            for dtype in flags.dtype:
                for batch in flags.batch or ((64, 1) if work == "loop" else (8,)):
                    for card in flags.card:
                        yield Job(preset, work, dtype, batch, card)


def measure(job: Job) -> Row:
    """The row of a job; a problem instead of figures if XLA cannot compile the program.

    Raises:
        InputError: JAX's CUDA plug-in is not installed.
    """
    try:
        compiled = compile_for(job)
    except jax.errors.JaxRuntimeError as error:
        return {**job._asdict(), "problem": str(error).splitlines()[0].replace("|", "/")[:120]}
    return {**job._asdict(), **figures(job, compiled)}


def compile_for(job: Job) -> Any:
    """The compiled program of a job.

    Raises:
        InputError: JAX's CUDA plug-in is not installed.
    """
    description = Path(__file__).with_name("cards") / f"{job.card}.txt"
    try:
        card = topologies.get_topology_desc(
            platform="cuda", target_config=description.read_text(), topology="1x1x1"
        )
    except NotImplementedError as error:
        raise InputError(
            "JAX's CUDA plug-in was not found: pip install 'jax[cuda13]' (no driver is needed)"
        ) from error
    there = NamedSharding(topologies.make_mesh(card, (1,), ("card",)), PartitionSpec())
    function, arguments = program(job)
    arguments = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there), arguments
    )
    donated = (0,) if job.work == "train" else ()
    with jax.default_matmul_precision(PRECISIONS[job.dtype][1]):
        return jax.jit(function, donate_argnums=donated).lower(*arguments).compile()


def program(job: Job) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function of a job, and the shapes of its arguments."""
    config = default_config("i3ad", preset=job.preset)
    method = build(config.with_settings({"dtype": network_dtype(job.dtype)}))
    assert isinstance(method, I3AD)
    state = jax.eval_shape(method.init, jax.random.key(0))

    def shape(count: int, side: int, channels: int = 3) -> Any:
        return jax.ShapeDtypeStruct((count, side, side, channels), jnp.float32)

    def loop(state: I3adState, images: Images) -> Maps:
        inpaint, scores = method.inpaint(state), jax.vmap(method.anomaly_score)

        def one(image: Image, score: Any) -> Map:
            return refine(inpaint, image, score=score, u=0.3, settings=method.test.refine).score

        return jax.vmap(one)(images, scores(Squares.of_pixels(images)))

    def train(state: I3adState, batch: Batch, key: PRNGKey) -> tuple[I3adState, Metrics]:
        keys = jax.random.split(key, STEPS)
        return lax.scan(lambda state, key: method.step(state, batch, key), state, keys)

    images = shape(job.batch, method.image_size)
    if job.work == "loop":
        return loop, (state, images)
    detail, count = method.detail(method.training), method.num_planted
    planted = None
    if detail is not None:
        squares = shape(count, detail.side)
        planted = PlantedSquares(squares, squares, shape(count, detail.side, 1))
    key = jax.eval_shape(jax.random.key, 0)
    return train, (state, Batch(images, planted), key)


def figures(job: Job, compiled: Any) -> Row:
    """The figures of a compiled program: of one pass of the loop, or one step of the training."""
    text = compiled.as_text()
    passes, kernels = Program(text).main_loop()
    floor = sum(kernel.times * least_seconds(kernel, job) for kernel in kernels)
    each = passes if job.work == "loop" else 1
    return {
        "passes": passes,
        "kernels": sum(kernel.times for kernel in kernels),
        "kinds": kinds(kernels),
        "bytes": sum(kernel.times * kernel.moved for kernel in kernels),
        "flop": sum(kernel.times * kernel.operations for kernel in kernels),
        "floor_ms": 1e3 * floor,
        "floor_ms_per_image": 1e3 * floor * each / job.batch,
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "float64": len(re.findall(r"\bf64\[", text)),
        "host_callbacks": len(re.findall(r'target="[^"]*callback| outfeed\(', text)),
    }


def least_seconds(kernel: Kernel, job: Job) -> float:
    """The least time of a kernel on the card of a job."""
    peak = PEAKS[job.card]
    rate = peak.float32 if kernel.exact else getattr(peak, job.dtype)
    bandwidth, arithmetic = REACHED
    return LAUNCH + max(
        kernel.moved / (bandwidth * peak.bandwidth), kernel.operations / (arithmetic * rate)
    )


def readable(row: Row) -> Row:
    """The row with its figures in the units of the table's columns."""
    if "problem" in row:
        return row
    return {
        **row,
        **row["kinds"],
        "GiB": row["bytes"] / 2**30,
        "TFLOP": row["flop"] / 1e12,
        "temporary_GiB": row["temporary_bytes"] / 2**30,
    }


if __name__ == "__main__":
    command_line.run(main)

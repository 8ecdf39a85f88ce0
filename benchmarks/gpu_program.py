"""`python -m benchmarks.gpu_program`: what a GPU would run, without one.

XLA compiles the loop and a training step for a described card; the figures are of its program.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.exchange import exchanges, topology
from benchmarks.hlo import Kernel, Program, kinds
from benchmarks.networks import build
from benchmarks.precision import PRECISIONS, network_dtype
from benchmarks.tables import write
from i3ad_jax import command_line
from i3ad_jax.config import Preset, default_config
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
SEVERAL = (
    *("preset", "work", "dtype", "batch", "card", "cards", "memory_GiB", "kernels", "floor_ms"),
    *("collectives", "exchanged_MB", "exchange_ms", "exposed_ms", "weak", "strong", "problem"),
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

    With several cards the table has the memory of a card and the collectives of the program. Their
    time is that of a ring without latency, at NVLink's 450 GB/s or, with more cards than a machine
    has, at 50 GB/s a card. Kernels that are scheduled between the start and the end of a collective
    hide it. The rest is exposed and added to the floor. `weak` and `strong` are efficiencies: the
    time of an image on one card, divided by the cards and by their time of an image. Of `weak` that
    card has as many images as each of the cards, of `strong` as all of them together; both need the
    row of that card in the same table.

    Requires JAX's CUDA plug-in (pip install 'jax[cuda13]'), no driver.
    """

    out: Path = Path("gpu_program")
    """Folder for the table."""
    preset: tuple[Preset, ...] = ("paper",)
    """Sizes of images and networks."""
    work: tuple[Literal["loop", "train"], ...] = ("loop", "train")
    """The loop of fixed length, or a training step."""
    dtype: tuple[Dtype, ...] = ("bfloat16", "tf32")
    """Arithmetic of the networks."""
    batch: tuple[int, ...] = ()
    """Images together on a card; by default 64 and 1 in the loop and 8 in a training step."""
    cards: tuple[int, ...] = (1,)
    """Numbers of cards that share the work: up to 8, or machines of 8."""
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
    cards: int = 1


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
    columns = SEVERAL if max(flags.cards) > 1 else COLUMNS
    rows = [readable(row) | efficiencies(row, rows) for row in rows]
    table = write(flags.out, "gpu_program", columns, rows, notes=notes)
    if not flags.json:
        print(table)


def jobs(flags: Flags) -> Iterator[Job]:
    """The programs of the rows, in the table's order."""
    for preset in flags.preset:
        for work in flags.work:
            for dtype in flags.dtype:
                for batch in flags.batch or ((64, 1) if work == "loop" else (8,)):
                    for card in flags.card:
                        for cards in flags.cards:
                            yield Job(preset, work, dtype, batch, card, cards)


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
        InputError: JAX's CUDA plug-in is not installed, or the cards do not fill machines.
    """
    description = Path(__file__).with_name("cards") / f"{job.card}.txt"
    try:
        cards = topologies.get_topology_desc(
            platform="cuda",
            target_config=description.read_text(),
            topology=topology(job.cards),
        )
    except NotImplementedError as error:
        raise InputError(
            "JAX's CUDA plug-in was not found: pip install 'jax[cuda13]' (no driver is needed)"
        ) from error
    function, arguments = program(job, topologies.make_mesh(cards, (job.cards,), ("card",)))
    donated = (0,) if job.work == "train" else ()
    with jax.default_matmul_precision(PRECISIONS[job.dtype][1]):
        return jax.jit(function, donate_argnums=donated).lower(*arguments).compile()


def program(job: Job, mesh: Mesh) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function of a job, and its arguments: shapes, and how the cards share them."""
    config = default_config("i3ad", preset=job.preset)
    method = build(config.with_settings({"dtype": network_dtype(job.dtype)}))
    assert isinstance(method, I3AD)
    each, whole = PartitionSpec("card"), PartitionSpec()

    def on_all(tree: Any) -> Any:
        there = NamedSharding(mesh, whole)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there), tree)

    def shared(count: int, side: int, channels: int = 3) -> Any:
        shape = count * job.cards, side, side, channels
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, each))

    def loop(state: I3adState, images: Images) -> Maps:
        inpaint, scores = method.inpaint(state), jax.vmap(method.anomaly_score)

        def one(image: Image, score: Any) -> Map:
            return refine(inpaint, image, score=score, u=0.3, settings=method.test.refine).score

        return jax.vmap(one)(images, scores(Squares.of_pixels(images)))

    def train(state: I3adState, batch: Batch, key: PRNGKey) -> tuple[I3adState, Metrics]:
        def step(state: I3adState, key: PRNGKey) -> tuple[I3adState, Metrics]:
            stepped = method.step(state, batch, key)
            return lax.with_sharding_constraint(stepped, NamedSharding(mesh, whole))

        return lax.scan(step, state, jax.random.split(key, STEPS))

    state = on_all(jax.eval_shape(method.init, jax.random.key(0)))
    images = shared(job.batch, method.image_size)
    if job.work == "loop":
        # As `shard_over_devices`: no card waits for another.
        own = jax.shard_map(
            loop, mesh=mesh, in_specs=(whole, each), out_specs=each, check_vma=False
        )
        return own if job.cards > 1 else loop, (state, images)
    detail, count = method.detail(method.training), method.num_planted
    planted = None
    if detail is not None:
        squares = shared(count, detail.side)
        planted = PlantedSquares(squares, squares, shared(count, detail.side, 1))
    key = on_all(jax.eval_shape(jax.random.key, 0))
    return train, (state, Batch(images, planted), key)


def figures(job: Job, compiled: Any) -> Row:
    """The figures of a compiled program: of one pass of the loop, or one step of the training."""
    text, memory = compiled.as_text(), compiled.memory_analysis()
    program = Program(text)
    passes, kernels = program.main_loop()
    times = partial(least_seconds, job=job)
    floor = sum(kernel.times * times(kernel) for kernel in kernels)
    exchanged = exchanges(program.collectives(), job.cards, times)
    exposed = sum(exchange.exposed for exchange in exchanged)
    each = passes if job.work == "loop" else 1
    own = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "passes": passes,
        "kernels": sum(kernel.times for kernel in kernels),
        "kinds": kinds(kernels),
        "bytes": sum(kernel.times * kernel.moved for kernel in kernels),
        "flop": sum(kernel.times * kernel.operations for kernel in kernels),
        "floor_ms": 1e3 * floor,
        "floor_ms_per_image": 1e3 * (floor + exposed) * each / (job.batch * job.cards),
        "temporary_bytes": memory.temp_size_in_bytes,
        "memory_bytes": own + memory.temp_size_in_bytes,
        "exchanges": [exchange.row() for exchange in exchanged],
        "exchange_ms": 1e3 * sum(exchange.seconds for exchange in exchanged),
        "exposed_ms": 1e3 * exposed,
        "float64": len(re.findall(r"\bf64\[", text)),
        "host_callbacks": len(re.findall(r'target="[^"]*callback| outfeed\(', text)),
    }


def least_seconds(kernel: Kernel, *, job: Job) -> float:
    """The least time of a kernel on the card of a job."""
    peak = PEAKS[job.card]
    rate = peak.float32 if kernel.exact else getattr(peak, job.dtype)
    bandwidth, arithmetic = REACHED
    return LAUNCH + max(
        kernel.moved / (bandwidth * peak.bandwidth), kernel.operations / (arithmetic * rate)
    )


def efficiencies(row: Row, rows: Sequence[Row]) -> dict[str, float]:
    """The efficiencies of a row of several cards for which `rows` has the row of one card."""
    time = "floor_ms_per_image"
    alone = {Job(*(each[name] for name in Job._fields)): each.get(time) for each in rows}
    job = Job(*(row[name] for name in Job._fields))
    found = {
        name: alone.get(job._replace(batch=batch, cards=1))
        for name, batch in (("weak", job.batch), ("strong", job.batch * job.cards))
    }
    return {
        name: each / (job.cards * row[time])
        for name, each in found.items()
        if each is not None and time in row and job.cards > 1
    }


def readable(row: Row) -> dict[str, Any]:
    """The row with its figures in the units of the table's columns."""
    if "problem" in row:
        return dict(row)
    return {
        **row,
        **row["kinds"],
        "GiB": row["bytes"] / 2**30,
        "TFLOP": row["flop"] / 1e12,
        "temporary_GiB": row["temporary_bytes"] / 2**30,
        "memory_GiB": row["memory_bytes"] / 2**30,
        "collectives": len(row["exchanges"]),
        "exchanged_MB": sum(exchange["bytes"] for exchange in row["exchanges"]) / 1e6,
    }


if __name__ == "__main__":
    command_line.run(main)

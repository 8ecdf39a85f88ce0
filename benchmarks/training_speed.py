"""`python -m benchmarks.training_speed`: training steps a second, beside PyTorch."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from benchmarks.networks import build
from benchmarks.stopwatch import can_compile, machine, paired, synchronise, torch_device
from benchmarks.subject import TORCH_WAYS
from benchmarks.tables import publish
from benchmarks.torch_training import training_step
from i3ad_jax import command_line
from i3ad_jax.config import Config, default_config
from i3ad_jax.inpainting.losses import discount_weights
from i3ad_jax.inpainting.masks import brush_masks
from i3ad_jax.methods.i3ad import I3AD, I3adState
from i3ad_jax.methods.inpainting_gan import GanState
from i3ad_jax.methods.method import Batch, Method
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.runtime.compiler import compiler_options
from i3ad_jax.shapes import Images, PRNGKey

PROGRAM = "python -m benchmarks.training_speed"
STEPS = 10  # a round: ours are one call of a program, as when it trains
# What PyTorch's step has too.
GAN_ALONE = {"segmenter_width": 0, "average": 0.0, "ssim_weight": 0.0, "training_masks": "brush"}
COLUMNS = (
    *(
        "preset",
        "framework",
        "variant",
        "batch",
        "image_size",
        "steps_per_second",
        "p95_step_seconds",
    ),
    *("ratio_to_best_torch", "first_call_seconds"),
)


@dataclass(frozen=True)
class Flags:
    """Time training steps in JAX and PyTorch, in turns; write training_speed.json and .md to OUT.

    The step is the GAN's, without the segmenter and the moving average. Ours draws its masks in the
    step; PyTorch's are drawn beforehand and not clocked. Ten steps are clocked at a time, one call
    of ours and ten of PyTorch's.
    """

    out: Path = Path("training_speed")
    """Folder for the table."""
    preset: Literal["quick", "paper"] = "quick"
    """Size of images and networks."""
    batch: int | None = None
    """Images of a step; by default the preset's."""
    rounds: int = 10
    """Times that each variant takes ten steps."""


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, times, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    config = default_config("i3ad", preset=flags.preset).with_settings(GAN_ALONE)
    batch = flags.batch or config.training.batch_size
    rows = time_steps(config, batch, rounds=flags.rounds)
    publish(flags.out, "training_speed", COLUMNS, rows, notes=machine())


def time_steps(config: Config, batch: int, *, rounds: int) -> list[dict[str, Any]]:
    """Rows of our step and PyTorch's, of the GAN alone, clocked in turns."""
    method = build(config)
    assert isinstance(method, I3AD)
    state = jax.device_get(fresh_state(jax.random.key(0), method))  # our steps take its memory
    images = random_images(config, batch)
    ways = ["eager, channels_last", *(["compile, channels_last"] if can_compile() else [])]
    makers: dict[str, Callable[[], Callable[[], Any]]] = {
        "": lambda: jax_steps(compile_steps(method, state, images), state, images),
        **{name: partial(torch_steps, name, method, state.gan, images) for name in ways},
    }
    steps, firsts = {}, {}
    for name, make in makers.items():
        start = time.perf_counter()
        steps[name] = make()
        steps[name]()
        firsts[name] = time.perf_counter() - start
        steps[name]()  # Some things are set up by the second call only.
    calls = paired(steps, rounds=rounds, label=f"{config.preset}, batch {batch}")
    rows = [
        {
            "preset": config.preset,
            "framework": "PyTorch" if name else "JAX",
            "variant": name,
            "batch": batch,
            "image_size": config.data.image_size,
            **speed(times),
            "first_call_seconds": firsts[name],
        }
        for name, times in calls.items()
    ]
    best = max(row["steps_per_second"] for row in rows if row["framework"] == "PyTorch")
    return [{**row, "ratio_to_best_torch": row["steps_per_second"] / best} for row in rows]


def speed(times: Sequence[float]) -> dict[str, float]:
    """Figures of a row for the seconds of calls of `STEPS` steps."""
    each = np.divide(times, STEPS)
    median, p95 = float(np.median(each)), float(np.percentile(each, 95))
    return {"steps_per_second": 1 / median, "p95_step_seconds": p95}


def compile_steps(method: Method, state: I3adState, images: Images) -> Any:
    """`STEPS` of ours, compiled: a program from state, images and key to state and losses."""

    def steps(state: I3adState, images: Images, key: PRNGKey) -> Any:
        batch, keys = Batch(images, planted=None), jax.random.split(key, STEPS)  # no segmenter
        return lax.scan(lambda state, key: method.step(state, batch, key), state, keys)

    jitted = jax.jit(steps, donate_argnums=0, compiler_options=compiler_options())
    return jitted.lower(state, images, jax.random.key(0)).compile()


def jax_steps(program: Any, state: I3adState, images: Images) -> Callable[[], Any]:
    """Calls of a program of `compile_steps`, each of which continues from the last."""
    state, number = jax.device_put(state), 0

    def run() -> Any:
        nonlocal state, number
        state, losses = program(state, images, jax.random.key(number))
        number += 1
        return jax.block_until_ready(losses)

    return run


def torch_steps(name: str, method: I3AD, state: GanState, images: Images) -> Callable[[], Any]:
    """`STEPS` of PyTorch's by one of `TORCH_WAYS`, from the same weights."""
    masks = jax.jit(brush_masks)(jax.random.key(0), images)
    weights = discount_weights(masks, discount=method.training.discount)
    tensors = [
        torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).to(torch_device())
        for x in (images, masks, weights)
    ]
    tensors = [tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors]
    types = {"mode": TORCH_WAYS[name], "dtype": method.test.dtype, "device": torch_device()}
    step = training_step(state, method.training, **types)
    return lambda: synchronise([step(*tensors) for _ in range(STEPS)])


def random_images(config: Config, batch: int) -> jax.Array:
    """Any images will do: a step takes as long with all."""
    size = config.data.image_size
    return jax.random.uniform(jax.random.key(0), (batch, size, size, 3), jnp.float32, -1, 1)


if __name__ == "__main__":
    command_line.run(main)

"""`python -m benchmarks.training_speed`: training steps a second, beside PyTorch."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

from benchmarks.networks import build
from benchmarks.stopwatch import can_compile, machine, paired, synchronise, torch_device
from benchmarks.tables import publish
from benchmarks.torch_training import training_step
from i3ad_jax import command_line
from i3ad_jax.config import Config, default_config
from i3ad_jax.inpainting.losses import discount_weights
from i3ad_jax.inpainting.masks import brush_masks
from i3ad_jax.methods.i3ad import I3adSettings, I3adState
from i3ad_jax.methods.inpainting_gan import GanState
from i3ad_jax.methods.method import Batch, Method
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.runtime.compiler import jit
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
    state = fresh_state(jax.random.key(0), method)
    images = random_images(config, batch)
    # PyTorch copies its weights first: our step takes the state's memory.
    in_torch = torch_steps(config.training, state.gan, images)
    steps = {"JAX": jax_steps(method, state, images), **in_torch}
    firsts = {}
    for name, step in steps.items():
        start = time.perf_counter()
        step()
        firsts[name] = time.perf_counter() - start
        step()  # Some things are set up by the second call only.
    calls = paired(steps, rounds=rounds, label=f"{config.preset}, batch {batch}")
    seconds = {name: np.divide(times, STEPS) for name, times in calls.items()}
    best = min(float(np.median(times)) for name, times in seconds.items() if name != "JAX")
    return [
        {
            "preset": config.preset,
            "framework": "JAX" if name == "JAX" else "PyTorch",
            "variant": "" if name == "JAX" else name,
            "batch": batch,
            "image_size": config.data.image_size,
            "steps_per_second": 1 / float(np.median(times)),
            "p95_step_seconds": float(np.percentile(times, 95)),
            "ratio_to_best_torch": best / float(np.median(times)),
            "first_call_seconds": firsts[name],
        }
        for name, times in seconds.items()
    ]


def jax_steps(method: Method, state: I3adState, images: Images) -> Callable[[], Any]:
    """`STEPS` of ours; each call continues from the last."""
    batch = Batch(images, planted=None)  # without the segmenter

    @jit(donate_argnums=0)
    def steps(state: I3adState, key: PRNGKey) -> Any:
        keys = jax.random.split(key, STEPS)
        return lax.scan(lambda state, key: method.step(state, batch, key), state, keys)

    number = 0

    def run() -> Any:
        nonlocal state, number
        state, losses = steps(state, jax.random.key(number))
        number += 1
        return jax.block_until_ready(losses)

    return run


def torch_steps(
    settings: I3adSettings, state: GanState, images: Images
) -> dict[str, Callable[[], Any]]:
    """`STEPS` of PyTorch's, from the same weights."""
    masks = jax.jit(brush_masks)(jax.random.key(0), images)
    weights = discount_weights(masks, discount=settings.discount)
    tensors = [
        torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).to(torch_device())
        for x in (images, masks, weights)
    ]
    tensors = [tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors]
    variants = {
        "eager, channels_last": False,
        **({"compile, channels_last": True} if can_compile() else {}),
    }
    steps = {}
    for name, compiled in variants.items():
        step = training_step(state, settings, compiled=compiled, device=torch_device())
        steps[name] = lambda step=step: synchronise([step(*tensors) for _ in range(STEPS)])
    return steps


def random_images(config: Config, batch: int) -> jax.Array:
    """Any images will do: a step takes as long with all."""
    size = config.data.image_size
    return jax.random.uniform(jax.random.key(0), (batch, size, size, 3), jnp.float32, -1, 1)


if __name__ == "__main__":
    command_line.run(main)

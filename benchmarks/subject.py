"""What is timed: a generator's weights, images, and the loop around them, in JAX and in PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from benchmarks import torch_loop
from benchmarks.stopwatch import synchronise, torch_device
from benchmarks.torch_networks import load_generator
from i3ad_jax.compiler import compiler_options
from i3ad_jax.config import PRESETS, Config
from i3ad_jax.data.load import load_dataset
from i3ad_jax.fit import fresh_state, load_trained
from i3ad_jax.methods.i3ad import I3AD, GanState
from i3ad_jax.refine import Refined, refine
from i3ad_jax.refine_queue import refine_queue
from i3ad_jax.run_folder import RunFolder
from i3ad_jax.shapes import to_float

UNTRAINED_U = 0.3  # of weights as they were drawn: any value that masks a part of an image


@dataclass(frozen=True)
class Subject:
    """A generator and the images to refine with it.

    Attributes:
        config: of the run, or of the preset.
        state: its weights.
        u: its threshold.
        images: test images in [-1, 1], `n h w c`.
    """

    config: Config
    state: GanState
    u: float
    images: np.ndarray

    def fixed_loop(self, *, dtype: str = "float32") -> Callable[..., Refined]:
        """The loop of fixed length as a function of weights and images."""
        method = I3AD(replace(self.config, network=replace(self.config.network, dtype=dtype)))

        def run(state: GanState, images: Any) -> Refined:
            refine_one = partial(refine, method.inpaint(state), u=self.u, config=self.config.refine)
            return jax.vmap(refine_one)(images)

        return run

    def queue(self, *, slots: int) -> Callable[..., Refined]:
        """The queue as a function of weights, images and their count."""
        method, options = I3AD(self.config), {"slots": slots, "u": self.u, "config": self.config.refine}
        return lambda state, images, count: refine_queue(
            method.inpaint(state), images, count=count, **options
        )

    def compile(self, loop: Callable[..., Refined], *arguments: Any) -> Any:
        """The loop compiled for arguments of these shapes, after the weights."""
        return jax.jit(loop, compiler_options=compiler_options()).lower(self.state, *arguments).compile()

    def operations(self) -> float:
        """Floating-point operations of one call of our generator for one image, as XLA counts them."""
        size = self.config.data.image_size
        inpaint = jax.jit(lambda state, image, mask: I3AD(self.config).inpaint(state)(image, mask))
        shapes = (
            jax.ShapeDtypeStruct((size, size, 3), jnp.float32),
            jax.ShapeDtypeStruct((size, size, 1), jnp.float32),
        )
        cost: Any = inpaint.lower(self.state, *shapes).compile().cost_analysis()
        return float(cost["flops"])

    def torch_loop(self, *, compiled: bool, dtype: str = "float32") -> Callable[[Tensor], Tensor]:
        """The loop in PyTorch, from `b c h w` to SSIM maps."""
        generator = load_generator(jax.device_get(self.state.generator)).eval()
        generator = generator.to(device=torch_device(), memory_format=torch.channels_last)  # pyright: ignore
        network: Any = torch.compile(generator) if compiled else generator
        config = self.config.refine
        options = {"u": self.u, "iterations": config.iterations, "patches": config.patches}

        def generate(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
            with torch.autocast(torch_device(), torch.bfloat16, enabled=dtype == "bfloat16"):
                return network(images, masks)

        return lambda images: synchronise(torch_loop.refine(generate, images, **options))

    def tensors(self, count: int) -> Tensor:
        """The first images as PyTorch takes them."""
        tensor = torch.from_numpy(self.batch(count)).permute(0, 3, 1, 2).to(torch_device())
        return tensor.contiguous(memory_format=torch.channels_last)

    def batch(self, count: int) -> np.ndarray:
        """The first images, beginning again where there are too few."""
        return np.resize(self.images, (count, *self.images.shape[1:]))


def load_subject(run: Path | None, *, iterations: int | None = None) -> Subject:
    """A trained run, or the paper's network with weights as drawn and the built-in cloth.

    Raises:
        InputError: the run cannot be used.
    """
    if run is None:
        subject = untrained(PRESETS["paper"])
    else:
        folder = RunFolder(run)
        config = folder.read_config()
        _, state = load_trained(folder, config)
        u = folder.read_json(folder.calibration)["u"]
        subject = Subject(config, _generator_alone(state), u, _test_images(config))
    config = subject.config
    if iterations is not None:
        config = replace(config, refine=replace(config.refine, iterations=iterations))
    return replace(subject, config=config)


def untrained(config: Config) -> Subject:
    """Weights as they are drawn: a loop of fixed length takes as long with them as with others."""
    state = fresh_state(jax.random.key(0), I3AD(config))
    return Subject(config, _generator_alone(state), UNTRAINED_U, _test_images(config))


def _generator_alone(state: GanState) -> GanState:
    return GanState(state.generator, {}, {}, (), ())


def _test_images(config: Config) -> np.ndarray:
    data = load_dataset(config.data.data, image_size=config.data.image_size, aspect=config.data.aspect)
    return np.asarray(to_float(jnp.asarray(data.test.images)))

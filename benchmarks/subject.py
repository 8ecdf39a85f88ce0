"""What is timed: a method's weights, images, and the loop around them, in JAX and in PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from benchmarks import torch_baselines, torch_loop
from benchmarks.stopwatch import synchronise, torch_device
from benchmarks.torch_networks import load_generator
from i3ad_jax.config import Config
from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.fit import fresh_state, load_trained
from i3ad_jax.inpainting.queue import refine_queue
from i3ad_jax.inpainting.refine import Refined, refine
from i3ad_jax.methods import build
from i3ad_jax.methods.anogan import first_latent
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.inpainting_gan import GanState
from i3ad_jax.methods.method import State
from i3ad_jax.methods.reconstruction import Reconstruction
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.compiler import compiler_options
from i3ad_jax.runtime.devices import spread_over_devices
from i3ad_jax.shapes import Image, Images, Map, Maps, to_float

PASSES_AT_START = 4  # of the checkerboards
UNTRAINED_U = 0.3  # of weights as they were drawn: any value that masks a part of an image


@dataclass(frozen=True)
class Subject:
    """Weights of a method and the images to test with them.

    Attributes:
        config: of the run, or of the preset.
        state: its weights.
        u: I3AD's threshold.
        images: test images in [-1, 1], `n h w c`.
    """

    config: Config
    state: State
    u: float
    images: np.ndarray

    @property
    def iterations(self) -> int:
        """Of the test-time loop."""
        return build(self.config).traced[-1]

    def fixed_loop(self, *, dtype: str = "float32") -> Callable[..., Maps]:
        """All iterations for a batch, as a function of weights and images to SSIM maps."""
        method = build(replace(self.config, network=replace(self.config.network, dtype=dtype)))

        def one(state: State, image: Image) -> Map:
            if isinstance(method, I3AD):
                return refine(method.inpaint(state), image, u=self.u, config=self.config.refine).score
            assert isinstance(method, Reconstruction)
            return method.maps(state, image)["ssim"]

        return jax.vmap(one, in_axes=(None, 0))

    def queue(self, *, slots: int, devices: int) -> Callable[..., Refined]:
        """I3AD's queue as a function of weights, images and their count; `slots` on each device."""
        method = I3AD(self.config)

        def run(state: State, images: Images, count: Any) -> Refined:
            def queue(images: Images, count: Any) -> Refined:
                inpaint, loop = method.inpaint(state), self.config.refine
                return refine_queue(inpaint, images, count=count, slots=slots, u=self.u, config=loop)

            return spread_over_devices(queue, images, count=count, devices=devices)

        return run

    def compile(self, loop: Callable[..., Any], *arguments: Any, state: State = None) -> Any:
        """The loop compiled for arguments of these shapes; `state`: the weights where they lie elsewhere."""
        state = self.state if state is None else state
        return jax.jit(loop, compiler_options=compiler_options()).lower(state, *arguments).compile()

    def operations(self) -> float:
        """Floating-point operations of all iterations for one image, as XLA counts those of one."""
        size, method = self.config.data.image_size, build(self.config)
        image = jax.ShapeDtypeStruct((size, size, 3), jnp.float32)
        if isinstance(method, I3AD):
            mask = jax.ShapeDtypeStruct((size, size, 1), jnp.float32)
            once = jax.jit(lambda state, image, mask: method.inpaint(state)(image, mask))
            lowered, times = once.lower(self.state, image, mask), PASSES_AT_START + self.iterations
        else:
            assert isinstance(method, Reconstruction)
            search = jax.eval_shape(method.model.begin, self.state, image)
            lowered, times = jax.jit(method.model.improve).lower(self.state, image, search), self.iterations
        cost: Any = lowered.compile().cost_analysis()
        return times * float(cost["flops"])

    def torch_loop(self, *, compiled: bool, dtype: str = "float32") -> Callable[[Tensor], Tensor]:
        """The same in PyTorch, from `b c h w` to SSIM maps."""
        loop = TORCH_LOOPS[self.config.method](self, compiled, dtype)
        return lambda images: synchronise(loop(images))

    def tensors(self, count: int) -> Tensor:
        """The first images as PyTorch takes them."""
        tensor = torch.from_numpy(self.batch(count)).permute(0, 3, 1, 2).to(torch_device())
        return tensor.contiguous(memory_format=torch.channels_last)

    def batch(self, count: int) -> np.ndarray:
        """The first images, beginning again where there are too few."""
        return np.resize(self.images, (count, *self.images.shape[1:]))


def load_subject(run: Path) -> Subject:
    """A trained run of I3AD and its test images.

    Raises:
        InputError: the run cannot be used.
    """
    folder = RunFolder(run)
    config = folder.read_config()
    if config.method != "i3ad":
        raise InputError(f"--run {run}: a run of {config.method}; give one of i3ad")
    _, state = load_trained(folder, config)
    u = folder.read_json(folder.calibration)["u"]
    return Subject(config, _generator_alone(state), u, _test_images(config))


def untrained(config: Config) -> Subject:
    """Weights as they are drawn: a loop of fixed length takes as long with them as with others."""
    state = fresh_state(jax.random.key(0), build(config))
    if isinstance(state, GanState):
        state = _generator_alone(state)
    return Subject(config, state, UNTRAINED_U, _test_images(config))


def _generator_alone(state: GanState) -> GanState:
    return GanState(state.generator, {}, {}, (), ())


def _test_images(config: Config) -> np.ndarray:
    data = load_dataset(config.data.data, image_size=config.data.image_size, aspect=config.data.aspect)
    return np.asarray(to_float(jnp.asarray(data.test.images)))


def _torch_module(module: Any, *, compiled: bool) -> Any:
    module = module.to(device=torch_device(), memory_format=torch.channels_last)
    # Shapes and strides are fixed; as symbols those of AnoGAN's features take the compiler ten minutes.
    return torch.compile(module, dynamic=False) if compiled else module


def _torch_i3ad(subject: Subject, compiled: bool, dtype: str) -> Callable[[Tensor], Tensor]:
    generator = load_generator(jax.device_get(subject.state.generator)).eval()
    network = _torch_module(generator, compiled=compiled)
    config = subject.config.refine
    options = {"u": subject.u, "iterations": config.iterations, "patches": config.patches}

    def generate(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(torch_device(), torch.bfloat16, enabled=dtype == "bfloat16"):
            return network(images, masks)

    return lambda images: torch_loop.refine(generate, images, **options)


def _torch_projection(subject: Subject, compiled: bool, dtype: str) -> Callable[[Tensor], Tensor]:
    assert dtype == "float32"
    autoencoder = torch_baselines.load_autoencoder(jax.device_get(subject.state.weights), subject.config)
    autoencoder = _torch_module(autoencoder, compiled=compiled)
    return lambda images: torch_baselines.project(autoencoder, images, subject.config.search)


def _torch_anogan(subject: Subject, compiled: bool, dtype: str) -> Callable[[Tensor], Tensor]:
    assert dtype == "float32"
    networks = torch_baselines.load_anogan(jax.device_get(subject.state), subject.config)
    generate, see = (_torch_module(network, compiled=compiled) for network in networks)
    latent = np.array(first_latent(subject.config.network.latent_size))
    start, search = torch.from_numpy(latent).to(torch_device()), subject.config.search
    return lambda images: torch_baselines.search_latent(generate, see, images, start=start, search=search)


TORCH_LOOPS: dict[str, Callable[[Subject, bool, str], Callable[[Tensor], Tensor]]] = {
    "i3ad": _torch_i3ad,
    "l2_ae_projection": _torch_projection,
    "anogan": _torch_anogan,
}

"""Subject of the timing: a method's weights, images, and its loop, in JAX and in PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor

from benchmarks import torch_baselines, torch_loop
from benchmarks.networks import build
from benchmarks.stopwatch import synchronise, torch_device
from benchmarks.torch_networks import load_generator
from i3ad_jax.config import Config
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.masks import NUM_CHECKERBOARDS
from i3ad_jax.inpainting.queue import queue_loops, refine_queue
from i3ad_jax.inpainting.refine import State as LoopState
from i3ad_jax.inpainting.refine import refine
from i3ad_jax.methods.anogan import Anogan, first_latent
from i3ad_jax.methods.i3ad import I3AD, I3adState
from i3ad_jax.methods.inpainting_gan import GanState
from i3ad_jax.methods.method import ComputeSettings, Method, State
from i3ad_jax.methods.projection import L2Projection
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.compiler import compiler_options
from i3ad_jax.runtime.devices import shard_over_devices
from i3ad_jax.scoring.ssim import ssim_anomaly
from i3ad_jax.shapes import Image, Images, Map, Maps, to_float

UNTRAINED_U = 0.3  # of weights as they were drawn: any value that masks a part of an image
# The setting of each method that says how many iterations its test-time loop has.
ITERATIONS = {
    "i3ad": "iterations",
    "l2_ae_projection": "projection_steps",
    "anogan": "latent_steps",
}


class TorchWay(NamedTuple):
    """PyTorch's way to run a network: `torch.compile`'s mode, None without it, and array layout."""

    mode: str | None
    layout: torch.memory_format = torch.channels_last


TORCH_WAYS = {
    "eager": TorchWay(None, torch.contiguous_format),
    "eager, channels_last": TorchWay(None),
    "compile, channels_last": TorchWay("default"),
    "CUDA graphs, channels_last": TorchWay("reduce-overhead"),
}


@dataclass(frozen=True)
class Subject:
    """A method, its weights and the images to test with them.

    Attributes:
        method: with its settings.
        state: its weights.
        u: I3AD's threshold.
        images: test images in [-1, 1], `n h w c`.
    """

    method: Method
    state: State
    u: float
    images: np.ndarray

    @property
    def iterations(self) -> int:
        """Iterations of the test-time loop."""
        return self.method.trace_iterations[-1]

    @property
    def dtype(self) -> str:
        """Number type in which the networks compute."""
        return (
            self.method.test.dtype if isinstance(self.method.test, ComputeSettings) else "float32"
        )

    def with_iterations(self, count: int) -> "Subject":
        """The same with another number of iterations."""
        return self._with_test({ITERATIONS[self.method.name]: count})

    def computing_in(self, dtype: str) -> "Subject":
        """The same with networks that compute in this type; all but I3AD's have float32 alone."""
        if isinstance(self.method.test, ComputeSettings):
            return self._with_test({"dtype": dtype})
        assert dtype == self.dtype
        return self

    def fixed_loop(self) -> Callable[[State, Images], Maps]:
        """All iterations for a batch, as a function of weights and images to SSIM maps."""
        method = self.method

        def refined(state: State, images: Images) -> Maps:
            assert isinstance(method, I3AD)
            inpaint, options = method.inpaint(state), {"u": self.u, "settings": method.test.refine}
            scores = jax.vmap(method.anomaly_score)(Squares.of_pixels(images))
            return jax.vmap(lambda x, score: refine(inpaint, x, score=score, **options).score)(
                images, scores
            )

        def reconstructed(state: State, image: Image) -> Map:
            assert isinstance(method, ReconstructionMethod)
            return ssim_anomaly(image, method.ssim)(method.reconstruct_one(state, image))

        return refined if isinstance(method, I3AD) else jax.vmap(reconstructed, in_axes=(None, 0))

    def sharded_loop(self, *, devices: int) -> Callable[[State, Images], Maps]:
        """`fixed_loop`, every device working on a shard of the images, as the commands have it."""
        loop = self.fixed_loop()

        def run(state: State, images: Images) -> Maps:
            own = lambda shard, _: loop(state, shard)  # noqa: E731
            return shard_over_devices(own, images, count=len(images), devices=devices)

        return run

    def queue(self, *, slots: int, devices: int) -> Callable[[State, Images, Any], LoopState]:
        """I3AD's queue as a function of weights, images and their count; `slots` on each device."""
        method = self.method
        assert isinstance(method, I3AD)

        def run(state: State, images: Images, count: Any) -> LoopState:
            def shard(images: Images, count: Any) -> LoopState:
                scores = jax.vmap(method.anomaly_score)(Squares.of_pixels(images))
                loops = queue_loops(images, scores=scores, u=self.u, settings=method.test.refine)
                return refine_queue(method.inpaint(state), loops, count=count, slots=slots)

            return shard_over_devices(shard, images, count=count, devices=devices)

        return run

    def compile(self, loop: Callable[..., Any], *arguments: Any, state: State = None) -> Any:
        """Return the loop compiled for arguments of these shapes.

        `state`: the weights, if they are elsewhere.
        """
        state = self.state if state is None else state
        return jax.jit(loop, compiler_options=compiler_options()).lower(state, *arguments).compile()

    def operations(self) -> float:
        """Return the floating-point operations of all iterations for one image.

        XLA counts those of one iteration on a CPU. A GPU's client counts none before it compiles,
        and then without the ones that it leaves to libraries.

        Raises:
            RuntimeError: JAX was told to do without the CPU.
        """
        method, size = self.method, self.method.image_size
        state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), self.state)
        image = jax.ShapeDtypeStruct((size, size, 3), jnp.float32)
        if isinstance(method, I3AD):
            mask = jax.ShapeDtypeStruct((size, size, 1), jnp.float32)
            once = jax.jit(lambda state, image, mask: method.inpaint(state)(image, mask))
            arguments, times = (state, image, mask), NUM_CHECKERBOARDS + self.iterations
        else:
            assert isinstance(method, ReconstructionMethod)
            once, times = jax.jit(method.improve), self.iterations
            arguments = (state, image, jax.eval_shape(method.begin, state, image))
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            cost: Any = once.lower(*arguments).cost_analysis()
        return times * float(cost["flops"])

    def torch_loop(self, way: TorchWay) -> Callable[[Tensor], Tensor]:
        """The same in PyTorch, from `b c h w` to SSIM maps."""
        loop = TORCH_LOOPS[self.method.name](self, way)
        return lambda images: synchronise(loop(images))

    def tensors(self, count: int, way: TorchWay) -> Tensor:
        """The first images as PyTorch takes them."""
        tensor = torch.from_numpy(self.batch(count)).permute(0, 3, 1, 2).to(torch_device())
        return tensor.contiguous(memory_format=way.layout)

    def batch(self, count: int) -> np.ndarray:
        """The first images, beginning again where there are too few."""
        return np.resize(self.images, (count, *self.images.shape[1:]))

    def _with_test(self, changes: dict[str, Any]) -> "Subject":
        return replace(
            self, method=replace(self.method, test=self.method.test.with_settings(changes))
        )


def load_subject(run: Path) -> Subject:
    """A trained run of I3AD and its test images, to compute in float32.

    Raises:
        InputError: the run cannot be used. PyTorch's loop knows whole images in pixel values alone.
    """
    detector = Detector.load(run)
    if not isinstance(detector.method, I3AD):
        raise InputError(f"--run {run}: a run of {detector.method.name}; give one of i3ad")
    given = detector.preprocessing
    if (
        given.size != (given.side, given.side)
        or given.units.level
        or given.units.subtract != "none"
    ):
        raise InputError(
            f"--run {run}: give one trained with --view whole --levelling no --centre none"
        )
    assert isinstance(detector.state, I3adState)
    state, u = _generator_alone(detector.state), float(detector.calibration.tuned["u"])
    return Subject(detector.method, state, u, _test_images(detector.config)).computing_in("float32")


def untrained(config: Config) -> Subject:
    """Weights as they are drawn: a loop of fixed length takes as long with them as with others."""
    method = build(config)
    state = fresh_state(jax.random.key(0), method)
    if isinstance(state, I3adState):
        state = _generator_alone(state)
    return Subject(method, state, UNTRAINED_U, _test_images(config))


def _generator_alone(state: I3adState) -> I3adState:
    return I3adState(GanState({}, state.gan.average, {}, {}, (), ()), None)


def _test_images(config: Config) -> np.ndarray:
    own, size = config.data, (config.data.image_size, config.data.image_size)
    data = own.load(size=size)
    return np.asarray(to_float(jnp.asarray(data.test.images)))


def _torch_module(module: Any, way: TorchWay) -> Any:
    module = module.to(device=torch_device(), memory_format=way.layout)
    # Shapes and strides are fixed; as symbols AnoGAN's features take the compiler ten minutes.
    return torch.compile(module, dynamic=False, mode=way.mode) if way.mode else module


def _torch_i3ad(subject: Subject, way: TorchWay) -> Callable[[Tensor], Tensor]:
    method = subject.method
    assert isinstance(method, I3AD)
    generator = load_generator(jax.device_get(subject.state.gan.average)).eval()
    network = _torch_module(generator, way)
    loop, in_bfloat16 = method.test.refine, method.test.dtype == "bfloat16"
    options = {"u": subject.u, "iterations": loop.iterations, "patches": loop.patches}

    def generate(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(torch_device(), torch.bfloat16, enabled=in_bfloat16):
            return network(images, masks)

    return lambda images: torch_loop.refine(generate, images, **options)


def _torch_projection(subject: Subject, way: TorchWay) -> Callable[[Tensor], Tensor]:
    method = subject.method
    assert isinstance(method, L2Projection)
    autoencoder = torch_baselines.load_autoencoder(jax.device_get(subject.state), method)
    autoencoder = _torch_module(autoencoder, way)
    return lambda images: torch_baselines.project(autoencoder, images, method.test)


def _torch_anogan(subject: Subject, way: TorchWay) -> Callable[[Tensor], Tensor]:
    method = subject.method
    assert isinstance(method, Anogan)
    networks = torch_baselines.load_anogan(jax.device_get(subject.state), method)
    generate, extract_features = (_torch_module(network, way) for network in networks)
    latent = np.array(first_latent(method.training.latent_size))
    start = torch.from_numpy(latent).to(torch_device())
    return lambda images: torch_baselines.search_latent(
        generate, extract_features, images, start=start, settings=method.test
    )


TORCH_LOOPS: dict[str, Callable[[Subject, TorchWay], Callable[[Tensor], Tensor]]] = {
    "i3ad": _torch_i3ad,
    "l2_ae_projection": _torch_projection,
    "anogan": _torch_anogan,
}

# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Interface of every method, and the settings that several methods share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from i3ad_jax.inpainting.refine import Trajectory
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import (
    Results,
    copied_to,
    devices_for,
    in_batches,
    shard_over_devices,
)
from i3ad_jax.runtime.throughput import Throughput, Work
from i3ad_jax.scoring.maps import SCORES, Pair, plain_maps
from i3ad_jax.scoring.ssim import SsimSettings
from i3ad_jax.settings import SettingError, Settings, setting
from i3ad_jax.shapes import Image, Images, Length, Map, Maps, Masks, PRNGKey

State = Any  # a pytree of arrays and nothing else: it is donated, saved and compared
Metrics = dict[str, Float[Array, ""]]
Tuned = Mapping[str, Any]  # JSON values
Parameters = Any  # a pytree of arrays


class Queue(NamedTuple):
    """Queue of images for a test-time program.

    Attributes:
        squares: network inputs from them.
        num_images: number of valid rows; the rest is padding.
        together: number of slots: images that are worked on at a time.
    """

    squares: Squares
    num_images: Int[Array, ""]
    together: Length


class Detail(NamedTuple):
    """Part of a method that sees more of an image than its squares: whole images of any size.

    Attributes:
        side: of the squares that it learns from, in pixels.
        levels: sizes at which it sees an image, at most: the working size, half of it, and so on.
        multiple: height and width must be multiples of it, at each size.
    """

    side: int
    levels: int
    multiple: int


class PlantedSquares(NamedTuple):
    """Squares, most of them with a synthetic defect, at several sizes of the images.

    Attributes:
        images: in units of the data.
        centre: subtracted image, in pixel values.
        masks: 1 on synthetic defects.
    """

    images: Images
    centre: Images
    masks: Masks


class Batch(NamedTuple):
    """Batch of a training step.

    Attributes:
        images: normal ones, in units of the data.
        planted: `Method.num_planted` others, of the side of `Method.detail`.
    """

    images: Images
    planted: PlantedSquares | None


class Predicted(NamedTuple):
    """Result of a method for images: the map of each plain score, and reconstructions.

    Plain scores are not calibrated.
    """

    maps: dict[str, Maps]
    reconstructions: Images


@dataclass(frozen=True)
class NoSettings(Settings):
    """Settings of a method without test-time settings."""


@dataclass(frozen=True)
class StepSettings(Settings):
    """Training by steps."""

    steps: int = setting(500_000, minimum=1, maximum=10**9)
    """Training steps."""
    batch_size: int = setting(10, minimum=1, maximum=65_536)
    """Images per training step."""
    checkpoint_every: int = setting(500, minimum=1, maximum=10**9)
    """Steps between checkpoints."""
    sample_every: int = setting(500, minimum=1, maximum=10**9)
    """Steps between sample pictures."""


@dataclass(frozen=True)
class AdversarialSettings(StepSettings):
    """Training of two networks against each other."""

    generator_learning_rate: float = setting(1e-4, above=0, maximum=100)
    """Adam's step size for the generator."""
    discriminator_learning_rate: float = setting(4e-4, above=0, maximum=100)
    """Adam's step size for the discriminator, or critic."""
    adam_beta1: float = setting(0.5, minimum=0, below=1)
    """Adam's decay of the first moment. Not in the paper; Yu et al. 2019."""
    adam_beta2: float = setting(0.999, minimum=0, below=1)
    """Adam's decay of the second moment. Not in the paper; Yu et al. 2019."""


def initial(key: PRNGKey, network: Any, *inputs: Array, **options: Any) -> Mapping[str, Any]:
    """Return the fresh variables of a Flax module, whose own `init` has no types."""
    return network.init(key, *inputs, **options)


def updated_average(average: Any, weights: Any, optimizer: optax.OptState, *, decay: float) -> Any:
    """Return the moving average of weights after an update of `optimizer`.

    With decay 0 it is the weights themselves. At first it forgets faster: after t steps by 9 / (10
    + t) at least, so that fresh weights do not linger.
    """
    steps = optax.tree_utils.tree_get(optimizer, "count")
    return optax.incremental_update(weights, average, jnp.maximum(1 - decay, 9 / (10 + steps)))


@dataclass(frozen=True)
class ComputeSettings(Settings):
    """Number type in which networks compute."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the networks compute in; weights, losses and scores are float32 either way."""


@dataclass(frozen=True)
class Method(ABC):
    """A way to find anomalies: settings and networks; what is learned is in the state.

    Equal settings make equal methods with equal hashes, and equal methods share their compiled
    programs.

    Attributes:
        training: settings that the weights depend on.
        test: settings of the test-time procedure.
        image_size: side in pixels of all images.
        ssim: SSIM, as scores are made of it and as some methods train with it.
        throughput: numbers of images and steps that go through a program at a time.
        name: value of `--method`.
        presets: training and test settings by the preset's name.
        weights_of: the method that trains its weights, if another.
        steps_may_grow: whether a finished training can go on for more steps and be what a longer
            one would have been.
        start: name of the first state of a trace. size_multiple, smallest_size: divisor of the side
        of the networks' input, and its minimum.
    """

    training: Settings
    test: Settings
    image_size: int
    ssim: SsimSettings
    throughput: Throughput

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, tuple[Settings, Settings]]]
    weights_of: ClassVar[str | None] = None
    steps_may_grow: ClassVar[bool] = True
    start: ClassVar[str] = "reconstruction"
    size_multiple: ClassVar[int] = 1
    smallest_size: ClassVar[int] = 1

    def __post_init__(self) -> None:
        self.validate(self.training, self.test, self.image_size)

    @classmethod
    def validate(cls, training: Any, test: Any, image_size: int) -> None:
        """Check settings against one another and against the side of the networks' input.

        Raises:
            SettingError: the method cannot work with them.
        """
        multiple, smallest = cls.size_multiple, cls.smallest_size
        if image_size % multiple or image_size < smallest:
            problem = f"{cls.name} takes multiples of {multiple} from {smallest} upwards"
            raise SettingError("image_size", image_size, problem)

    @property
    @abstractmethod
    def trace_iterations(self) -> Sequence[int]:
        """Iterations of the test-time loop before each state of a trace, from 0 to all."""

    @property
    def fill_patches(self) -> int | None:
        """Patches of the checkerboard in `reconstruct_once`, or None.

        A method that sees every pixel has none.
        """
        return None

    @classmethod
    def batch_sizes(cls, training: Any) -> dict[str, int]:
        """Return the images of a training step by setting; devices share each of these."""
        return {"batch_size": training.batch_size} if isinstance(training, StepSettings) else {}

    @classmethod
    def trained_with(cls, training: Any) -> frozenset[str]:
        """Names of the settings outside `training` that the weights depend on."""
        return frozenset()

    @property
    def num_planted(self) -> int:
        """Number of images with synthetic defects that a training step learns from."""
        return self.batch_sizes(self.training).get("segmenter_batch_size", 0)

    @property
    def work(self) -> Work:
        """Sizes that the memory of its programs follows from."""
        detail, batches = self.detail(self.training), self.batch_sizes(self.training)
        pixels = batches.get("batch_size", 0) * self.image_size**2
        planted = self.num_planted * detail.side**2 if detail else 0
        return Work(self.image_size, getattr(self.training, "width", 1), 3 * (pixels + planted))

    @abstractmethod
    def init(self, key: PRNGKey) -> State:
        """Fresh weights and optimisers. Can be jitted."""

    def step(self, state: State, batch: Batch, key: PRNGKey) -> tuple[State, Metrics]:
        """The state after one update on a batch of normal images, and its losses. Can be jitted."""
        raise TypeError(f"{self.name} does not learn by steps")

    def fit_at_once(self, squares: Float[np.ndarray, "n h w 3"]) -> State | None:
        """Return the state from all training images at once; None if the method learns by steps.

        Args:
            squares: of normal images, in units of the data.

        Raises:
            InputError: these images are not enough.
        """
        return None

    @abstractmethod
    def sample(self, state: State, images: Images, key: PRNGKey) -> Float[Array, "rows b h w c"]:
        """Rows of pictures that show how training goes: the images, network inputs, outputs."""

    def tune(self, state: State, squares: Squares, *, seed: int, progress: bool = False) -> Tuned:
        """Return the test-time parameters from normal images that served no training step.

        Args:
            state: the weights.
            squares: of held-out normal images.
            seed: of a random choice among them.
            progress: show a progress bar.
        """
        return {}

    def parameters(self, tuned: Tuned) -> Parameters:
        """The arrays that the test-time program needs of what `tune` found."""
        return ()

    @abstractmethod
    def reconstruct(self, state: State, parameters: Parameters, queue: Queue) -> Images:
        """The reconstructions of a queue. Traced by `jax.jit`."""

    @abstractmethod
    def trajectories(self, state: State, parameters: Parameters, queue: Queue) -> Trajectory:
        """The states that lead to the reconstructions of a queue. Traced by `jax.jit`."""

    def reconstruct_once(self, state: State, images: Images) -> Images | None:
        """Return the networks' outputs in one pass, compiled for each shape of `images`.

        It tells what training has taught, without a test-time search. None from a method that has
        nothing else.
        """
        return None

    @property
    def gives(self) -> frozenset[str]:
        """Outputs among "features" and "segmentation" that it gives: scores may need them."""
        return frozenset() if type(self).features is Method.features else frozenset(["features"])

    def features(self, state: State, image: Image) -> Float[Array, " f"] | None:
        """An image as a discriminator sees it; None for a method without one."""
        return None

    @property
    def score_names(self) -> list[str]:
        """Its scores, in the order of the table."""
        return [
            score.name
            for score in SCORES.values()
            if score.needs is None or score.needs in self.gives
        ]

    @classmethod
    def detail(cls, training: Any) -> Detail | None:
        """Return the part that sees images at more than the squares' size; None without one."""
        return None

    def segment(self, state: State, squares: Squares) -> Maps:
        """Return each pixel's probability to be anomalous, by a network that learned it.

        Only of a method with `detail`. Traced by `jax.jit`.

        Args:
            state: the weights.
            squares: images of one size, any that `detail` allows; they need not be square.
        """
        raise TypeError(f"{self.name} does not segment")

    @jit(static_argnums=0)
    def segmented(self, state: State, squares: Squares) -> Maps:
        """Return the maps of `segment`. Each shape has one program."""
        return self.segment(state, squares)

    def predict(self, state: State, tuned: Tuned, squares: Squares, count: int) -> Predicted:
        """Return maps, of pixel values, and reconstructions, in units of the data.

        Each shape has one program. Only the first `count` rows are valid: the rest is padding.
        """
        return self._over_devices(type(self).examine, state, tuned, squares, count)

    def trace(self, state: State, tuned: Tuned, squares: Squares, count: int) -> Trajectory:
        """The states that lead to the reconstructions, with a leading batch axis; as `predict`."""
        return self._over_devices(type(self).trajectories, state, tuned, squares, count)

    def examine(self, state: State, parameters: Parameters, queue: Queue) -> Predicted:
        """Maps and reconstructions of a queue on one device. Traced by `jax.jit`."""

        def compare(pair: tuple[Squares, Image]) -> dict[str, Map]:
            square, reconstruction = pair
            image = square.images
            first, second = self.features(state, image), self.features(state, reconstruction)
            features = None if first is None or second is None else (first, second)
            pixels = square.pixels(image), square.pixels(reconstruction)
            return plain_maps(Pair(*pixels, features), self.ssim)

        squares, count, together = queue
        found = self.reconstruct(state, parameters, queue)
        pairs = squares, found
        maps = in_batches(jax.vmap(compare), pairs, count=count, batch_size=together)
        return Predicted(maps, found)

    def _over_devices(
        self,
        function: Callable[[Any, State, Parameters, Queue], Results],
        state: State,
        tuned: Tuned,
        squares: Squares,
        count: int,
    ) -> Results:
        """Results of a method of this class for a queue, whose rows the devices share."""
        devices = devices_for(len(squares.images), together=self.throughput.test_batch_size)
        arguments = state, self.parameters(tuned), squares, jnp.asarray(np.int32(count))
        return self._program(function, devices, copied_to(devices, arguments))

    @jit(static_argnums=(0, 1, 2))
    def _program(
        self,
        function: Callable[[Any, State, Parameters, Queue], Results],
        devices: int,
        arguments: tuple[State, Parameters, Squares, Int[Array, ""]],
    ) -> Results:
        state, parameters, squares, count = arguments
        together = self.throughput.test_batch_size // devices

        def shard(squares: Squares, count: Int[Array, ""]) -> Results:
            return function(self, state, parameters, Queue(squares, count, together))

        return shard_over_devices(shard, squares, count=count, devices=devices)

"""What every method offers to the commands."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jaxtyping import Array, Float

from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.refine import Trajectory
from i3ad_jax.shapes import Images, Maps, PRNGKey

State = Any  # a pytree of arrays and nothing else: it is donated, saved and compared
Metrics = dict[str, Float[Array, ""]]
Calibration = Mapping[str, Any]  # JSON values


def check_image_size(config: Config, *, multiple: int, smallest: int) -> int:
    """The images' side in pixels.

    Raises:
        InputError: it is no multiple of `multiple`, or less than `smallest`.
    """
    size = config.data.image_size
    if size % multiple or size < smallest:
        raise InputError(
            f"--image-size {size}: {config.method} takes multiples of {multiple} from {smallest} upwards"
        )
    return size


class Method(Protocol):
    """A way to find anomalies. An instance holds settings and networks; what is learned is in the state.

    Attributes:
        start: what the first state of a trace is called.
        traced: after how many iterations of the test-time loop each state of a trace stands, from 0 to all.
    """

    @property
    def start(self) -> str: ...

    @property
    def traced(self) -> Sequence[int]: ...

    def init(self, key: PRNGKey) -> State:
        """Fresh weights and optimisers. Can be jitted."""
        ...

    def step(self, state: State, images: Images, key: PRNGKey) -> tuple[State, Metrics]:
        """The state after one update on a batch of normal images, and its losses. Can be jitted."""
        ...

    def fit(self, images: Images) -> State | None:
        """The state that all training images at once lead to; None from a method that learns by steps."""
        ...

    def sample(self, state: State, images: Images, key: PRNGKey) -> Float[Array, "rows b h w c"]:
        """Rows of pictures that show how training goes: the images, what the network saw, what it made."""
        ...

    def calibrate(self, state: State, images: Images) -> Calibration:
        """What the test-time procedure learns from normal images that served no training step."""
        ...

    def anomaly_maps(
        self, state: State, calibration: Calibration, images: Images, count: int
    ) -> dict[str, Maps]:
        """A map for each kind of score, higher where a pixel looks more anomalous. Compiled once a shape.

        Only the first `count` maps mean something: the other images fill up the shape.
        """
        ...

    def trace(self, state: State, calibration: Calibration, images: Images) -> Trajectory:
        """The reconstructions that lead to the maps, with a leading batch axis. Compiled once a shape."""
        ...

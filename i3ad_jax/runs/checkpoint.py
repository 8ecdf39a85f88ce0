"""Training states on disk, by Orbax: each checkpoint is complete or does not count."""

from pathlib import Path
from types import TracebackType
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import v1 as ocp

from i3ad_jax.errors import InputError

KEPT = 2  # the newest, and the one before it in case the disk damages the newest


class Checkpoints:
    """The checkpoints of one run; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        newest: Any = ocp.training.preservation_policies.LatestN(KEPT)
        self._checkpointer = ocp.training.Checkpointer(str(path.absolute()), preservation_policy=newest)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """Number of training steps behind the newest checkpoint; None without one."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, step: int, state: Any) -> None:
        """Writes `state`, a pytree of arrays, as the checkpoint after `step` training steps."""
        self._checkpointer.save(step, state)

    def load(self, shapes: Any) -> Any:
        """The newest checkpoint, on the default device.

        Args:
            shapes: its structure, with `jax.ShapeDtypeStruct` leaves.

        Raises:
            InputError: there is none, or it is damaged or of other settings.
        """
        if self.latest is None:
            raise InputError(f"{self.path}: no checkpoint; train the run first")
        device = SingleDeviceSharding(jax.devices()[0])
        template = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), shapes
        )
        try:
            return self._checkpointer.load(self.latest, template)
        except Exception as error:  # Orbax and TensorStore raise many kinds, each for a file they cannot use
            raise InputError(
                f"{self.path / str(self.latest)}: damaged checkpoint ({type(error).__name__});"
                " delete this folder to use the one before it"
            ) from error

"""Training states on disk, by Orbax: a checkpoint is complete and intact or does not count."""

import os
import re
import signal
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import v1 as ocp

from i3ad_jax.errors import InputError
from i3ad_jax.methods.state import state_digest
from i3ad_jax.runtime.devices import own_copy
from i3ad_jax.runtime.disk import sync, sync_names
from i3ad_jax.runtime.processes import is_first
from i3ad_jax.runtime.signals import held_signals

Shapes = dict[str, tuple[tuple[int, ...], str]]
_DIGEST = "sha256"
KEPT = 2  # the newest, and the one before it in case the disk damages the newest
FILE_BYTES = 16 * 2**20  # limit of each file of a checkpoint, so that it can travel in pieces


class Checkpoints:
    """The checkpoints of one run; a context manager."""

    def __init__(self, path: Path) -> None:
        """Raise InputError if a checkpoint is damaged or something else is in a file's place."""
        if os.path.lexists(path) and not path.is_dir():
            raise InputError(f"{path}: must be a folder; remove what is there, or restore the run")
        if special := [file for file in path.rglob("*") if not (file.is_file() or file.is_dir())]:
            raise InputError(
                f"{special[0]}: damaged checkpoint (not a regular file); remove it or restore the"
                " run"
            )
        self.path = path
        newest: Any = ocp.training.preservation_policies.LatestN(KEPT)
        try:
            self._checkpointer = ocp.training.Checkpointer(
                str(path.absolute()), preservation_policy=newest, context=_context()
            )
        except OSError:
            raise
        except Exception as error:  # as in `load`, from what describes a checkpoint
            raise InputError(
                f"{path}: holds a damaged checkpoint ({type(error).__name__}); remove or restore it"
            ) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # what went wrong first is what counts
        with suppress(Exception) if error else nullcontext():
            self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """Number of training steps behind the newest checkpoint; None without one."""
        newest = self._checkpointer.latest
        return None if newest is None else newest.step

    def save(self, step: int, state: Any) -> None:
        """Writes `state`, a pytree of arrays, as the checkpoint after `step` training steps.

        It is on the disk, with the SHA-256 of the state, before this returns.

        Raises:
            InputError: the folder cannot be written to, or its disk is full.
        """
        try:
            self._checkpointer.save(step, state, custom_metadata={_DIGEST: state_digest(state)})
            if is_first():  # Orbax has synced the arrays, but neither what describes them nor names
                sync(self.path / str(step))
                sync_names(self.path)
                sync_names(self.path.parent)
        except Exception as error:  # as in `load`
            raise InputError(
                f"{self.path / str(step)}: cannot be written to ({_reason(error)}); make room, or"
                " name another folder"
            ) from error

    def load(self, shapes: Any) -> Any:
        """Return the newest checkpoint, on the default device or each process's first.

        The latter holds where there are several processes.

        Args:
            shapes: its structure, with `jax.ShapeDtypeStruct` leaves.

        Raises:
            InputError: there is none, or it is damaged or of other settings.
        """
        step = self.latest
        if step is None:
            raise InputError(f"{self.path}: no checkpoint; train the run first")
        stored, digest = self._metadata(step)
        if stored and stored != _shapes(shapes):
            raise InputError(
                f"{self.path / str(step)}: its weights do not match the run's config.json; one of"
                " the two is another run's: put the right one back"
            )
        first = [jax.local_devices(process)[0] for process in range(jax.process_count())]
        sharding = NamedSharding(Mesh(np.array(first), ("process",)), PartitionSpec())
        template = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
        )
        try:
            # Orbax would take Ctrl-C for a checkpoint that it cannot read.
            with held_signals() as received:
                loaded = self._checkpointer.load(step, template)
            for number in received:
                signal.raise_signal(number)
            state = own_copy(loaded)
        except (
            Exception
        ) as error:  # Orbax and TensorStore raise many kinds, each for a file they cannot use
            raise InputError(
                f"{self.path / str(step)}: damaged checkpoint ({type(error).__name__});"
                f" {self._way_out(step)}"
            ) from error
        if state_digest(state) != digest:
            problem = "other weights than were saved" if digest else "no SHA-256 of its weights"
            raise InputError(
                f"{self.path / str(step)}: damaged checkpoint ({problem}); {self._way_out(step)}"
            )
        return state

    def _metadata(self, step: int) -> tuple[Shapes, str | None]:
        """Return a checkpoint's arrays by its own account and their checksum, or nothing.

        It is nothing where they are unreadable.
        """
        try:
            found: Any = self._checkpointer.metadata(step)
            return _shapes(found.metadata), found.custom_metadata.get(_DIGEST)
        except Exception:  # as in `load`
            return {}, None

    def _way_out(self, step: int) -> str:
        if any(other.step < step for other in self._checkpointer.checkpoints):
            return "delete this folder to use the one before it"
        return "there is no other one: restore it from a backup or train a new run"


def _context() -> ocp.Context:
    """Return Orbax's options: files of at most `FILE_BYTES`."""
    context = ocp.Context()
    # Orbax ends a file once it has this size, and divides larger arrays: a file has less than twice
    # this size and what compression adds to numbers that cannot be compressed.
    context.array.saving.ocdbt_target_data_file_size = FILE_BYTES * 7 // 16
    return context


def _reason(error: Exception) -> str:
    """Return the system's message, without the paths of temporary files that Orbax names before."""
    text = str(getattr(error, "strerror", None) or error)
    numbers = [int(number) for number in re.findall(r"os_error_code='(\d+)'", text)]
    return (
        os.strerror(numbers[-1])
        if numbers
        else " ".join(text.split())[:200] or type(error).__name__
    )


def _shapes(tree: Any) -> Shapes:
    """Shape and type of each array by its path in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (tuple(leaf.shape), str(leaf.dtype))
        for path, leaf in leaves
    }

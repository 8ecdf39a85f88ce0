"""The weights of a run, read from its newest checkpoint."""

from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import Method, State
from i3ad_jax.methods.state import state_shapes
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.run_folder import RunFolder


def load_weights(run: RunFolder, method: Method) -> tuple[int, State]:
    """The number of training steps of the newest checkpoint, and its state.

    Raises:
        InputError: there is no checkpoint, or it is damaged or of other settings.
    """
    folder = run.source()
    # Orbax makes the folder it is pointed at: not for a question.
    if not folder.checkpoints.is_dir():
        raise InputError(f"{folder.checkpoints}: no checkpoint; train the run first")
    with Checkpoints(folder.checkpoints) as checkpoints:
        state = checkpoints.load(state_shapes(method))
        assert checkpoints.latest is not None  # or load would have raised
        return checkpoints.latest, state

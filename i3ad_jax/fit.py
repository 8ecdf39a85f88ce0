"""Training: the only training loop, with its log, checkpoints, sample pictures and interruptions."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.methods import build
from i3ad_jax.methods.method import Method, Metrics, State
from i3ad_jax.reporting.figures import contact_sheet
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.run_folder import RunFolder, append_line
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.shapes import to_float, to_uint8

LOG_EVERY = 20
DIVERGED = 1e4  # losses here are of order one; beyond this no training comes back
NUM_SAMPLES = 8


class Interrupted(Exception):  # noqa: N818 (a request, not an error)
    """Ctrl-C or SIGTERM came during training; the state was saved. `signal` is the signal's number."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(f"stopped after step {step}, which is saved")
        self.signal = number


def fit(
    method: Method,
    config: Config,
    folder: RunFolder,
    *,
    train_images: UInt8[np.ndarray, "n h w 3"],
    held_out_images: UInt8[np.ndarray, "m h w 3"],
) -> State:
    """The state after `config.training.steps` steps, going on from the run's newest checkpoint if it has one.

    Step i draws its batch and its masks from a key made of the seed and i alone, so a training that was
    interrupted ends in the same bits as one that was not. Writes checkpoints, `metrics.jsonl` and sample
    pictures of inpainted held-out images. A method that learns from all images at once takes one step.

    Raises:
        Interrupted: after saving, on Ctrl-C or SIGTERM.
        InputError: the losses diverged; the last good checkpoint is kept. Or the checkpoint is damaged.
    """
    init_key, train_key = jax.random.split(jax.random.key(config.seed))
    training = config.training
    step_once = _compiled_step(method, batch_size=training.batch_size, key=train_key)
    images = jnp.asarray(train_images)
    with Checkpoints(folder.checkpoints) as checkpoints, _signals() as received:
        start = checkpoints.latest or 0
        state = (
            checkpoints.load(jax.eval_shape(method.init, init_key))
            if start
            else fresh_state(init_key, method)
        )
        if (fitted := method.fit(to_float(images))) is not None:
            if not start:
                checkpoints.save(1, fitted)
            return fitted
        folder.keep_metrics_until(start)
        progress = tqdm(
            range(start, training.steps), initial=start, total=training.steps, unit="step", desc="train"
        )
        clock = _Clock(start)
        for done in progress:
            state, metrics = step_once(state, images, done)
            step = done + 1
            last = step == training.steps or bool(received)
            saving = last or step % training.checkpoint_every == 0
            if saving or step % LOG_EVERY == 0:
                values = {name: float(value) for name, value in metrics.items()}
                _check_losses(step, values, state if saving else None, kept=checkpoints.latest)
                append_line(folder.metrics, {"step": step, **values, "steps_per_second": clock.rate(step)})
                progress.set_postfix({name.removesuffix("_loss"): f"{v:.3g}" for name, v in values.items()})
            if step % training.sample_every == 0 or step == training.steps:
                _save_samples(method, state, held_out_images[:NUM_SAMPLES], folder, step)
            if saving:
                checkpoints.save(step, state)
            if received:
                progress.close()
                raise Interrupted(step, received[0])
    return state


def load_trained(folder: RunFolder, config: Config) -> tuple[Method, State]:
    """The method of a run and its newest checkpoint.

    Raises:
        InputError: there is no checkpoint, or it is damaged.
    """
    method = build(config)
    # Orbax makes the folder it is pointed at: not for a question.
    if not folder.checkpoints.is_dir():
        raise InputError(f"{folder.checkpoints}: no checkpoint; train the run first")
    with Checkpoints(folder.checkpoints) as checkpoints:
        return method, checkpoints.load(jax.eval_shape(method.init, jax.random.key(config.seed)))


def fresh_state(key: jax.Array, method: Method) -> State:
    """What `method.init` gives."""
    # Run once, and mostly random numbers: optimising this program takes longer than running it.
    return jax.jit(method.init, compiler_options={"xla_backend_optimization_level": 0})(key)


def _compiled_step(
    method: Method, *, batch_size: int, key: jax.Array
) -> Callable[[State, jax.Array, int], tuple[State, Metrics]]:
    """One training step as one program: its batch from the epoch's shuffled images, then the method's step.

    The state is donated: the new one takes its memory.
    """

    order_key, step_key = jax.random.split(key)

    @jit(donate_argnums=0)
    def step_once(state: State, images: jax.Array, index: int) -> tuple[State, Metrics]:
        def draw(position: jax.Array) -> jax.Array:
            epoch, place = jnp.divmod(position, len(images))
            return jax.random.permutation(jax.random.fold_in(order_key, epoch), len(images))[place]

        chosen = jax.vmap(draw)(index * batch_size + jnp.arange(batch_size))
        return method.step(state, to_float(images[chosen]), jax.random.fold_in(step_key, index))

    return step_once


def _check_losses(step: int, losses: dict[str, float], state: State | None, *, kept: int | None) -> None:
    """Raises InputError if a loss has diverged or a weight of `state` is not finite."""
    bad = [name for name, value in losses.items() if not abs(value) < DIVERGED]
    if (
        not bad
        and state is not None
        and not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(state))
    ):
        bad = ["a weight"]
    if bad:
        last_good = f"the checkpoint of step {kept} is kept" if kept else "there is no checkpoint yet"
        raise InputError(
            f"training diverged at step {step} ({bad[0]} = {losses.get(bad[0], math.nan):g}); {last_good};"
            " start a new run with smaller --generator-learning-rate and --discriminator-learning-rate"
        )


def _save_samples(method: Method, state: State, images: np.ndarray, folder: RunFolder, step: int) -> None:
    rows = method.sample(state, to_float(jnp.asarray(images)), jax.random.key(0))
    folder.samples.mkdir(exist_ok=True)
    contact_sheet([np.asarray(to_uint8(row)) for row in rows]).save(folder.samples / f"step_{step:07d}.png")


class _Clock:
    """Steps per second since the last time it was asked; the first answer includes compilation."""

    def __init__(self, step: int) -> None:
        self.step, self.time = step, time.perf_counter()

    def rate(self, step: int) -> float:
        now = time.perf_counter()
        rate = (step - self.step) / (now - self.time)
        self.step, self.time = step, now
        return rate


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list to which SIGINT and SIGTERM add their number, once; a second one acts as usual."""
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, handlers[signal.Signals(number)])

    for number in handlers:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)

"""The runs of an experiment, one after the other, or as tasks of a Ray cluster."""

import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments.comparison import Run
from experiments.runs import make
from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.methods import METHODS
from i3ad_jax.runtime.cluster import cluster, find_ray
from i3ad_jax.training.recorded import Interrupted

Engine = Literal["here", "ray"]
_RETRIES = 3  # of a run whose process ended; it goes on from its newest checkpoint


class Outcome(NamedTuple):
    """Outcome of a run.

    Attributes:
        run: the finished run.
        results: content of its `results.json`; None if it failed.
        problem: reason of a failure, in one line.
        trace: the same for `failures.log`.
    """

    run: Run
    results: dict[str, Any] | None
    problem: str = ""
    trace: str = ""


def outcomes(
    missing: Sequence[Run], planned: Mapping[Run, Config], out: Path, engine: Engine
) -> Iterator[Outcome]:
    """Trains and tests runs, and gives each when it has ended: in order, or on Ray as they end.

    On Ray a run has a GPU for itself, or where there is none a machine; one that takes the weights
    of another waits for it.

    Args:
        missing: the runs to make.
        planned: the settings of all runs.
        out: folder of the experiment; on Ray one that all machines share.
        engine: place where they are made.

    Raises:
        InputError: Ray is missing or cannot be reached.
        Interrupted: on Ctrl-C or SIGTERM during a training here, after saving.
    """
    if engine == "here":
        yield from (_outcome(run, planned, out) for run in missing)
    elif missing:
        yield from _on_ray(missing, planned, out)


def _outcome(run: Run, planned: Mapping[Run, Config], out: Path) -> Outcome:
    try:
        return Outcome(run, make(run, planned, out))
    except Interrupted:
        raise
    except Exception as error:  # whatever it is, the other runs can do without this one
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        return Outcome(run, None, " ".join(f"{kind}{error}".split()), traceback.format_exc())


def _on_ray(missing: Sequence[Run], planned: Mapping[Run, Config], out: Path) -> Iterator[Outcome]:
    ray = find_ray()
    with cluster(ray):
        needed = (
            {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {"num_cpus": _cores(ray)}
        )

        @ray.remote(max_retries=_RETRIES, **needed)
        def task(run: Run, folder: str, _: Outcome | None) -> Outcome:
            os.chdir(folder)
            return _outcome(run, planned, out)

        tasks: dict[Run, Any] = {}
        for run in missing:
            first = tasks.get(replace(run, method=METHODS[run.method].weights_of or ""))
            tasks[run] = task.remote(run, str(Path.cwd()), first)
        runs = {reference: run for run, reference in tasks.items()}
        waiting = list(runs)
        while waiting:
            (ended,), waiting = ray.wait(waiting)
            try:
                yield ray.get(ended)
            except ray.exceptions.RayError as error:
                problem = f"its process ended {_RETRIES + 1} times"
                yield Outcome(runs[ended], None, problem, str(error))


def _cores(ray: Any) -> int:
    """Cores of the smallest machine: a training uses all that it finds."""
    return int(min(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"]))

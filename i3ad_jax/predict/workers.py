"""Blocks of images over the devices of a Ray cluster, or over those of this machine."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax

from i3ad_jax.calibration.verdict import VerdictSettings
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.predict.parts import Block, BlockScorer
from i3ad_jax.predict.results import PredictionFiles
from i3ad_jax.predict.scorer import Options, Scorer
from i3ad_jax.runtime.accelerator import share_gpu
from i3ad_jax.runtime.cluster import cluster, find_ray

# of a block whose worker ended: an image that ends every process must not go on for ever
_RETRIES = 3


@dataclass(frozen=True)
class Job:
    """Task of a worker.

    Attributes:
        run, out: folder of the trained run, and that of the results.
        verdict: as for `Detector`.
        options: as for `Scorer`.
        folder: folder that all relative paths start from, those of images too.
        programs: folder of JAX's compiled programs, if they are kept.
    """

    run: Path
    out: Path
    verdict: VerdictSettings
    options: Options
    folder: Path
    programs: str | None

    @classmethod
    def here(cls, run: Path, out: Path, verdict: VerdictSettings, options: Options) -> "Job":
        """A job with the working folder and the compiled programs of this process."""
        programs = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
        return cls(run, out, verdict, options, Path.cwd(), programs)


class Worker:
    """Scores blocks on one device, in a process of its own.

    Args:
        job: task of the worker.
        cores: of the processor, for its own use; None where it has a GPU.
    """

    def __init__(self, job: Job, *, cores: int | None) -> None:
        self._job = job
        self._cores = cores

    def score(self, block: Block) -> int:
        """Score a block, as `BlockScorer.score`.

        Raises:
            InputError: the run cannot be loaded, or this machine does not see the same folders.
        """
        return self._blocks.score(block)

    @cached_property
    def _blocks(self) -> BlockScorer:
        """Return the block scorer of the detector, which is loaded here, not in a constructor.

        An error in a constructor would not come back as it is.
        """
        job = self._job
        if self._cores is not None:
            # how many threads XLA makes, by default one for each core
            os.environ["NPROC"] = str(self._cores)
        share_gpu()
        jax.config.update("jax_compilation_cache_dir", job.programs)
        if not job.folder.is_dir():
            raise InputError(
                f"{job.folder}: a worker does not find it; start in a folder that all share"
            )
        os.chdir(job.folder)
        results = PredictionFiles(job.out)
        if not results.about.exists():
            raise InputError(
                f"--out {job.out}: a worker does not find it; name a folder that all share"
            )
        return BlockScorer(
            Scorer(replace(Detector.load(job.run), verdict=job.verdict), job.options, results)
        )


def score_on_workers(blocks: Sequence[Block], job: Job, *, workers: int | None) -> Iterator[int]:
    """Scores blocks in any order; gives how many images each had once its part is there.

    Ray restarts a worker that ends, and its block is scored again.

    Args:
        blocks: blocks to score; without any no cluster is looked for.
        job: for all workers.
        workers: number of workers; None for one on each GPU, or without any on each core.

    Raises:
        InputError: Ray is missing or cannot be reached, a worker cannot use its input, or a block
            ended its worker several times.
    """
    if not blocks:
        return
    ray = find_ray()
    with cluster(ray):
        kind = "GPU" if ray.cluster_resources().get("GPU") else "CPU"
        devices = int(ray.cluster_resources().get(kind, 0))
        if (workers or 1) > devices:
            raise InputError(f"--workers {workers or 1}: the cluster has {devices} {kind}s")
        actor = ray.remote(Worker).options(
            num_cpus=1, num_gpus=int(kind == "GPU"), max_restarts=-1, max_task_retries=_RETRIES
        )
        cores = 1 if kind == "CPU" else None
        actors = [
            actor.remote(job, cores=cores) for _ in range(min(workers or devices, len(blocks)))
        ]
        try:
            pool = ray.util.ActorPool(actors)
            yield from pool.map_unordered(
                lambda worker, block: worker.score.remote(block), list(blocks)
            )
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            ended = f"workers ended {_RETRIES + 1} times at one block"
            raise InputError(f"--engine ray: {ended} ({error})") from error

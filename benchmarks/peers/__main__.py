"""`python -m benchmarks.peers`: compare other detectors with ours on the same images.

All have the same cores and the same minutes.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.peers.installation import installed_bytes
from benchmarks.peers.peer import PEERS, SIDE_MULTIPLE, check_peers
from benchmarks.processes import clean_environment, cost_of
from benchmarks.stopwatch import machine
from benchmarks.tables import publish
from i3ad_jax import command_line
from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.runs.files import append_line, read_json
from i3ad_jax.scoring.metrics import image_auroc, pixel_aupro, pixel_auroc

PROGRAM = "python -m benchmarks.peers"
# A trial that agrees in all of these is not run again.
IDENTITY = ("peer", "version", "data", "data_digest", "side", "seconds", "seed")
GROUP = tuple(name for name in IDENTITY if name != "seed")
MEASURED = (
    *(
        "image_auroc",
        "pixel_auroc",
        "pixel_aupro",
        "training_seconds",
        "ms_batch_1",
        "ms_best_batch",
    ),
    *("peak_megabytes", "model_megabytes", "install_megabytes"),
)
COLUMNS = ("peer", "version", "data", "side", "seconds", "seeds", *MEASURED)
# All peers run on the processor, and none finds anything that was downloaded before.
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "JAX_PLATFORMS": "cpu",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}
HOW_TO_READ = {
    "cells": "mean ± standard deviation over seeds; a dash where a peer gives no maps",
    "side, seconds": "of every image in pixels; after which training by steps ends, if not before",
    "ms": "milliseconds an image, in calls of one image, and at the best of 1, 8 and 32",
    "peak_megabytes": "resident memory of the whole process at its peak, imports and compilers"
    " included",
    "model_megabytes": "as the package itself saves it: anomalib's and ours hold the optimisers'"
    " states too",
    "install_megabytes": "all files of the package and of all that it requires, as installed here",
}


@dataclass(frozen=True)
class Flags:
    """Train and test detectors on the same images, and write peers.json and .md to OUT.

    A trial becomes a line of OUT/trials.jsonl as soon as it is finished. Give the same command
    again to continue where it stopped; one with other data, peers or seeds adds to the table. A
    peer that fails is left out and noted; the exit code is then 1.
    """

    out: Path = Path("peers")
    """Folder for the table."""
    data: str = "textures:weave"
    """Data to train and test on, in any form that train takes."""
    peers: tuple[str, ...] = tuple(PEERS)
    """Names of detectors; by default all."""
    seeds: tuple[int, ...] = (0,)
    """A trial of each peer for each."""
    seconds: float = 240.0
    """Time limit of a training by steps."""
    side: int = 64
    """Side in pixels to which every image is resized for every peer, a multiple of 32."""


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, runs what is missing, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    check_peers(flags.peers)
    if flags.side < SIDE_MULTIPLE or flags.side % SIDE_MULTIPLE:
        raise InputError(f"--side {flags.side}: must be a multiple of {SIDE_MULTIPLE}")
    data = load_dataset(flags.data, size=(flags.side, flags.side), aspect="stretch", progress=True)
    if not len(data.test):
        raise InputError(f"--data {flags.data}: no test images; give labelled ones")
    flags.out.mkdir(parents=True, exist_ok=True)
    table = flags.out / "trials.jsonl"
    failures, about_machine = {}, machine()
    finished = {_identity(row) for row in read_trials(table)}
    missing = [row for row in planned(flags, data) if _identity(row) not in finished]
    try:
        for row in (progress := tqdm(missing, unit="trial")):
            progress.set_description(f"{row['peer']}, seed {row['seed']}")
            try:
                append_line(table, {**row, **run_trial(row, data)})
            except InputError as error:
                failures[f"failed: {row['peer']}, seed {row['seed']}"] = str(error)
    finally:  # an interrupted command shows what there is
        rows = read_trials(table)
        names = {row["peer"] for row in rows}
        about = {name: peer.note for name, peer in PEERS.items() if name in names and peer.note}
        notes = {**HOW_TO_READ, **about, **failures, **about_machine}
        publish(flags.out, "peers", COLUMNS, summary(rows), notes=notes)
    if failures:
        sys.exit(1)


def planned(flags: Flags, data: Dataset) -> Iterator[dict[str, Any]]:
    """Yield the identity of each trial; the peers of a seed one after the other."""
    for seed in flags.seeds:
        for name in flags.peers:
            yield {
                "peer": name,
                "version": metadata.version(PEERS[name].distributions[0]),
                "data": data.name,
                "data_digest": data.digest,
                "side": flags.side,
                "seconds": flags.seconds,
                "seed": seed,
            }


def run_trial(row: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """Return the measurements of a trial.

    Raises:
        InputError: its process fails, or its scores are not finite.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        np.savez(out / "data.npz", train=data.train.images[:], test=data.test.images[:])
        words = [row["peer"], str(row["seed"]), str(row["seconds"]), out / "data.npz", out]
        environment = {
            **clean_environment(out / "cache"),
            "TORCH_HOME": str(out / "cache"),
            **ENVIRONMENT,
        }
        cost = cost_of(
            [sys.executable, "-m", "benchmarks.peers.trial", *words],
            environment=environment | dict(PEERS[row["peer"]].environment),
        )
        measured = read_json(out / "trial.json")
        with np.load(out / "scores.npz") as scores:
            metrics = measure(data.test, scores["images"], scores.get("maps"))
    return {
        **metrics,
        **measured,
        "peak_megabytes": cost.peak_bytes / 1e6,
        "install_megabytes": installed_bytes(PEERS[row["peer"]].distributions) / 1e6,
    }


def measure(test: Split, scores: np.ndarray, maps: np.ndarray | None) -> dict[str, float | None]:
    """The metrics of image scores, `n`, and of maps, `n h w`, if there are any.

    Raises:
        InputError: a score is not finite.
    """
    pixels = test.annotated
    try:
        return {
            "image_auroc": image_auroc(test.labels, scores),
            "pixel_auroc": None if maps is None else pixel_auroc(test.masks[pixels], maps[pixels]),
            "pixel_aupro": None if maps is None else pixel_aupro(test.masks[pixels], maps[pixels]),
        }
    except ValueError as error:
        raise InputError(str(error)) from error


def read_trials(table: Path) -> list[dict[str, Any]]:
    """The finished trials, in their order."""
    return [json.loads(line) for line in table.read_text().splitlines()] if table.exists() else []


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each peer on each dataset: means and deviations over seeds."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in GROUP), []).append(row)
    return [
        {
            **dict(zip(GROUP, group, strict=True)),
            "seeds": " ".join(str(row["seed"]) for row in own),
            **{name: _cell([row[name] for row in own]) for name in MEASURED},
        }
        for group, own in groups.items()
    ]


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in IDENTITY)


def _cell(values: Sequence[float | None]) -> str | None:
    found = [value for value in values if value is not None]
    if not found:
        return None
    spread = f" ± {np.std(found, ddof=1):.2g}" if len(found) > 1 else ""
    return f"{np.mean(found):.4g}{spread}"


if __name__ == "__main__":
    command_line.run(main)

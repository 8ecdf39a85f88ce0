"""One peer with one seed, in a process of its own, so that threads and memory are its own too.

It is given training and test images, no label, and no network.
"""

import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.peer import PEERS, Fitted, Scores
from i3ad_jax.runs.files import write_json

AT_ONCE = 32  # images that are scored together
# Images in a call, and calls that are clocked.
CALLS = {1: 16, 8: 4, AT_ONCE: 1}


def main(arguments: list[str]) -> None:
    """Fits, scores, clocks and saves; writes `scores.npz` and `trial.json` to the folder OUT.

    Args:
        arguments: the peer's name, the seed, the seconds for training, a file with the arrays
            `train` and `test`, uint8 `n h w 3`, and OUT.
    """
    name, seed, seconds, data, out = arguments
    sys.addaudithook(refuse_network)
    with np.load(data) as arrays:
        train, test = (arrays[part].astype(np.float32) / 255 for part in ("train", "test"))
    fit = PEERS[name].load()  # its imports are not clocked
    start = time.perf_counter()
    fitted = fit(train, seed=int(seed), seconds=float(seconds))
    training_seconds = time.perf_counter() - start
    parts = [fitted.score(test[first : first + AT_ONCE]) for first in range(0, len(test), AT_ONCE)]
    _write_scores(Path(out) / "scores.npz", parts)
    milliseconds = {batch: milliseconds_an_image(fitted, test, batch) for batch in CALLS}
    model = Path(out) / "model"
    model.mkdir()
    fitted.save(model)
    write_json(
        Path(out) / "trial.json",
        {
            "training_seconds": training_seconds,
            "ms_batch_1": milliseconds[1],
            "ms_best_batch": min(milliseconds.values()),
            "best_batch": min(milliseconds, key=milliseconds.__getitem__),
            "model_megabytes": sum(
                file.stat().st_size for file in model.rglob("*") if file.is_file()
            )
            / 1e6,
        },
    )


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse connections to other machines, as an audit hook: nothing is downloaded unnoticed.

    Raises:
        PermissionError: a name is looked up, or a socket connected to an Internet address.
    """
    outside = event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6)
    if outside or event == "socket.getaddrinfo":
        raise PermissionError(f"a peer uses the network: {event} {arguments}")


def milliseconds_an_image(fitted: Fitted, images: np.ndarray, batch: int) -> float:
    """Milliseconds an image in calls of `batch` images, after one that is not clocked.

    The mean: some peers take longer for some images. The images are random ones, the same for all
        peers, and
    repeat where there are too few.
    """
    order = np.random.default_rng(0).permutation(len(images))
    chosen = images[np.resize(order, CALLS[batch] * batch)]
    fitted.score(chosen[:batch])
    start = time.perf_counter()
    for first in range(0, len(chosen), batch):
        fitted.score(chosen[first : first + batch])
    return 1000 * (time.perf_counter() - start) / len(chosen)


def _write_scores(file: Path, parts: list[Scores]) -> None:
    images = np.concatenate([part.images for part in parts])
    maps = [part.maps for part in parts if part.maps is not None]
    if maps:
        np.savez(file, images=images, maps=np.concatenate(maps))
    else:
        np.savez(file, images=images)


if __name__ == "__main__":
    main(sys.argv[1:])

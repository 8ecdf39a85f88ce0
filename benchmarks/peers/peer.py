"""Definition and list of the peers.

Only a peer's own module imports its packages.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from benchmarks.peers.installation import is_installed
from i3ad_jax.errors import InputError

SIDE_MULTIPLE = 32  # DRAEM halves its images five times; the others are content with less


class Scores(NamedTuple):
    """Scores of images by a peer, higher where they look more anomalous, of any finite range.

    Attributes:
        images: a score for each image, `n`.
        maps: a score for each pixel, `n h w` in the images' size; None from a peer that has none.
    """

    images: np.ndarray
    maps: np.ndarray | None


class Fitted(Protocol):
    """A peer after its training."""

    def score(self, images: np.ndarray) -> Scores:
        """Score RGB images, float32 in [0, 1], `n h w 3`, in one batch of `n`."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the model to an empty folder, as its package does or its documentation advises."""
        ...


class Fit(Protocol):
    """Trains a peer by its own defaults."""

    def __call__(self, images: np.ndarray, *, seed: int, seconds: float) -> Fitted:
        """A peer that was trained on normal images.

        Args:
            images: RGB, float32 in [0, 1], `n h w 3`, square, the side a multiple of
                `SIDE_MULTIPLE`.
            seed: of whatever is random.
            seconds: time limit of a training by steps.
        """
        ...


@dataclass(frozen=True)
class Peer:
    """A detector that can be trained and tested here.

    Attributes:
        place: module of this package and function that fits it, "module:function".
        distributions: required packages; the first gives the version.
        modules: imports of the function, beyond its own module's imports.
        note: remark on its figures.
        environment: variables of its process, name and value, beyond those of all.
    """

    place: str
    distributions: tuple[str, ...]
    modules: tuple[str, ...] = ()
    note: str = ""
    environment: tuple[tuple[str, str], ...] = ()

    def load(self) -> Fit:
        """The function that fits it, with everything imported, so that imports are not clocked."""
        for module in self.modules:
            import_module(module)
        module, _, function = self.place.partition(":")
        return getattr(import_module(f"benchmarks.peers.{module}"), function)


def _anomalib(
    function: str,
    *distributions: str,
    note: str = "",
    environment: tuple[tuple[str, str], ...] = (),
) -> Peer:
    model = function.removeprefix("fit_").removesuffix("_random")
    parts = ("callbacks", "data", "engine", f"models.image.{model}")
    modules = ("lightning", *(f"anomalib.{part}" for part in parts))
    return Peer(
        f"anomalib_models:{function}", ("anomalib", *distributions), modules, note, environment
    )


def _pyod(detector: str, *distributions: str, note: str = "") -> Peer:
    modules = (f"pyod.models.{detector}",)
    return Peer(f"pyod_models:fit_{detector}", ("pyod", *distributions), modules, note)


_DETERMINISTIC = "nothing in it is random: all seeds give the same"
_HELD_OUT = "a fifth of the training images calibrates it"
PEERS = {
    "i3ad": Peer("ours:fit_i3ad", ("i3ad_jax",), note=f"the standard preset; {_HELD_OUT}"),
    "i3ad_pca": Peer("ours:fit_pca", ("i3ad_jax",), note=f"method pca; {_HELD_OUT}"),
    "riad": Peer(
        "riad:fit",
        ("torch",),
        note="written here after the paper, its schedule after a public reimplementation; made for"
        " 256 x 256 pixels",
    ),
    "anomalib_ganomaly": _anomalib("fit_ganomaly"),
    "anomalib_draem": _anomalib(
        "fit_draem",
        "scikit-image",
        note="defects from scikit-image's photographs instead of the textures that it would"
        " download",
    ),
    "anomalib_patchcore_random": _anomalib(
        "fit_patchcore_random",
        note="pre_trained=False: features of random weights, not what PatchCore is known for;"
        " MALLOC_MMAP_THRESHOLD_ set, without which it takes ten times the memory",
        # Choosing its coreset fragments glibc's heap: 13 GB for 200 images, 1.3 GB with large
        # arrays outside it.
        environment=(("MALLOC_MMAP_THRESHOLD_", str(2**20)),),
    ),
    "pyod_ecod": _pyod("ecod", note=f"{_DETERMINISTIC}; scores depend on the images scored beside"),
    "pyod_iforest": _pyod("iforest"),
    "pyod_knn": _pyod("knn", note=_DETERMINISTIC),
    "pyod_auto_encoder": _pyod(
        "auto_encoder", "torch", note="batches of fewer than 32 for fewer images"
    ),
    "sklearn_pca": Peer(
        "sklearn_models:fit_pca", ("scikit-learn",), note="reconstruction by all components"
    ),
    "sklearn_one_class_svm": Peer(
        "sklearn_models:fit_one_class_svm", ("scikit-learn",), note=_DETERMINISTIC
    ),
}


def check_peers(names: tuple[str, ...]) -> None:
    """Raises InputError if a peer is unknown or not installed."""
    for name in names:
        if name not in PEERS:
            raise InputError(f"--peers {name}: unknown; one of {', '.join(PEERS)}")
        if missing := [
            package for package in PEERS[name].distributions if not is_installed(package)
        ]:
            install = "pip install -e '.[peers]'"
            raise InputError(
                f"--peers {name}: {missing[0]} is not installed; run {install}, or leave it out"
            )

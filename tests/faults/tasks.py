"""Commands that take a while and write much, and how each is started again after a stop."""

from pathlib import Path
from typing import NamedTuple

from .commands import PACK, TRAIN
from .numbers import I3AD

_RESUME = ("train", "--run", "out", "--resume")
_OFTEN = ("--steps", "8", "--checkpoint-every", "2", "--sample-every", "4")
L2_AE = (
    *("train", "--method", "l2_ae", "--data", "data", "--image-size", "32", "--width", "2"),
    *("--batch-size", "3", "--latent-size", "3", "--planted-images", "4", "--run", "out"),
)
_PREDICT = ("predict", "run", "data/test", "--out", "out", "--save", "scores", "maps", "pictures")


class Task(NamedTuple):
    """A command, run in a folder with `data` and, except for a training, `run`.

    Attributes:
        name: unique.
        command: the arguments of `i3ad`.
        again: those after it was stopped, once `begun` exists; until then they are the same.
        begun: a file.
        intruder: whether another process tries to do the same work meanwhile, and continues with
            it.
    """

    name: str
    command: tuple[str, ...]
    again: tuple[str, ...] = ()
    begun: str = "."
    intruder: bool = False

    def next_command(self, folder: Path) -> tuple[str, ...]:
        """Command line with which a user continues."""
        return self.again if self.again and (folder / self.begun).exists() else self.command


def _training(name: str, command: tuple[str, ...], *, intruder: bool = False) -> Task:
    return Task(name, command, _RESUME, "out/config.json", intruder)


def _prediction(name: str, *options: str, intruder: bool = False) -> Task:
    command = (*_PREDICT, *options)
    return Task(name, command, (*command, "--resume"), intruder=intruder)


TRAIN_I3AD = _training("train i3ad", (*I3AD, *_OFTEN, "--queue-size", "2"))
TASKS = (
    TRAIN_I3AD,
    _training("train l2_ae", (*L2_AE, *_OFTEN)),
    _training("train pca", TRAIN),
    _training("train twice", TRAIN_I3AD.command, intruder=True),
    Task("evaluate", ("evaluate", "run", "--out", "out")),
    Task("evaluate in place", ("evaluate", "run")),
    _prediction("predict npy", "--map-format", "npy"),
    _prediction("predict png", "--map-format", "png"),
    _prediction("predict npz", "--map-format", "npz"),
    _prediction("predict blocks", "--engine", "blocks"),
    _prediction("predict twice", intruder=True),
    Task("pack", PACK),
    Task("export", ("export", "run", "--out", "out")),
)

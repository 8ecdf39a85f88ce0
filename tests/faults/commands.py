"""The commands that cases run, on the case's `data` and `run`."""

TRAIN = (
    *("train", "--method", "pca", "--data", "data", "--image-size", "32", "--view", "whole"),
    *("--components", "3", "--planted-images", "4", "--run", "out"),
)
PACK = (
    *("pack", "data", "--out", "out"),
    *("--method", "pca", "--image-size", "32", "--view", "whole"),
)
PREDICT = ("predict", "run", "data/test/spot/0.png", "--out", "out", "--save", "scores")
COMMANDS = {
    "train": TRAIN,
    "pack": PACK,
    "check": ("check", "data", "--out", "out"),
    "predict": (
        "predict",
        "run",
        "data/test/spot",
        "--out",
        "out",
        "--save",
        "scores",
        "maps",
        "pictures",
    ),
    "evaluate": ("evaluate", "run", "--out", "out"),
    "report": ("report", "run", "--out", "out"),
    "export": ("export", "run", "--out", "out"),
    "resume": ("train", "--run", "run", "--resume"),
}


def on(command: tuple[str, ...], **places: str) -> tuple[str, ...]:
    """The command with `data`, `run` or `out` somewhere else."""
    return tuple(places.get(word, word) for word in command)

# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Callbacks of `Detector.fit` for experiment trackers."""

from pathlib import Path

from i3ad_jax.detector import Callback, TrainingProgress
from i3ad_jax.errors import optional_package


def to_tensorboard(folder: str | Path) -> Callback:
    """Return a callback that writes losses to a folder, for `tensorboard --logdir FOLDER`.

    Raises:
        InputError: tensorboardX is not installed.
    """
    problem = "to_tensorboard: needs pip install 'i3ad_jax[tensorboard]'"
    tensorboard = optional_package("tensorboardX", problem)
    writer = tensorboard.SummaryWriter(str(folder), flush_secs=10)

    def write(progress: TrainingProgress) -> None:
        for name, value in progress.losses.items():
            writer.add_scalar(name, value, progress.step)
        if progress.step == progress.steps:
            writer.close()  # or the last steps would not be written

    return write


def to_mlflow() -> Callback:
    """Return a callback that logs losses as metrics of the active MLflow run, or of a new one.

    Raises:
        InputError: MLflow is not installed.
    """
    mlflow = optional_package("mlflow", "to_mlflow: needs pip install 'i3ad_jax[mlflow]'")

    def log(progress: TrainingProgress) -> None:
        mlflow.log_metrics(dict(progress.losses), step=progress.step)

    return log

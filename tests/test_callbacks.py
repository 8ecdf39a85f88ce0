"""Callbacks for experiment trackers write what every callback sees."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i3ad_jax import Detector, InputError, TrainingProgress, to_mlflow, to_tensorboard
from tests.conftest import tiny_settings

STEPS = {"steps": 45}


def losses_and(callback: Any, data: Path) -> dict[str, list[tuple[int, float]]]:
    """Train with a callback; return what another one saw: step and value by the loss's name."""
    seen: dict[str, list[tuple[int, float]]] = {}

    def see(progress: TrainingProgress) -> None:
        for name, value in progress.losses.items():
            seen.setdefault(name, []).append((progress.step, value))

    settings = {**tiny_settings("l2_ae"), **STEPS}
    Detector.fit(data, method="l2_ae", callbacks=[callback, see], **settings)
    return seen


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the trackers' own
def test_tensorboard_gets_every_loss(tiny_folder: Path, tmp_path: Path) -> None:
    proto = pytest.importorskip("tensorboardX.proto.event_pb2", reason="i3ad_jax[tensorboard]")
    seen = losses_and(to_tensorboard(tmp_path / "board"), tiny_folder)
    (file,) = (tmp_path / "board").iterdir()
    content, written = file.read_bytes(), {}
    while content:  # records of a TFRecord file: length, its CRC, the record, its CRC
        length = int.from_bytes(content[:8], "little")
        event = proto.Event.FromString(content[12 : 12 + length])
        for value in event.summary.value:
            written.setdefault(value.tag, []).append((event.step, value.simple_value))
        content = content[16 + length :]
    assert written.keys() == seen.keys()
    for name, rows in seen.items():
        assert [step for step, _ in written[name]] == [step for step, _ in rows]
        np.testing.assert_allclose(written[name], rows, rtol=1e-6)  # kept as float32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_every_loss(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # other stores need a database
    mlflow = pytest.importorskip("mlflow", reason="i3ad_jax[mlflow]")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    with mlflow.start_run() as run:
        seen = losses_and(to_mlflow(), tiny_folder)
    client = mlflow.MlflowClient()
    for name, rows in seen.items():
        history = client.get_metric_history(run.info.run_id, name)
        assert sorted((metric.step, metric.value) for metric in history) == rows


@pytest.mark.parametrize(
    ("module", "callback"),
    [("tensorboardX", lambda: to_tensorboard("board")), ("mlflow", to_mlflow)],
)
def test_a_tracker_that_is_not_installed_is_named(
    module: str, callback: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not
    with pytest.raises(InputError, match=rf"needs pip install 'i3ad_jax\[{module[:6].lower()}"):
        callback()

"""The benchmark commands on the smallest input: that they measure, not the results."""

import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="pip install -e '.[test-all]'")
import torch

from benchmarks import (
    commands,
    metrics_memory,
    reading,
    scale,
    scaling,
    serving,
    timing_table,
    training_speed,
)
from benchmarks.processes import clean_environment, cost_of
from benchmarks.stopwatch import paired, resident_growth
from i3ad_jax.errors import InputError

pytestmark = pytest.mark.slow
# PyTorch's compiler does what PyTorch warns of, such as to call what is deprecated.
compiles = pytest.mark.filterwarnings(r"ignore:::torch\.")


def test_variants_take_turns_and_slow_ones_one_turn() -> None:
    calls = []

    def spend(name: str, work: int) -> Callable[[], None]:
        return lambda: (calls.append(name), time.sleep(work / 1000))[0]

    seconds = paired(
        {"a": spend("a", 20), "slow": spend("slow", 200), "b": spend("b", 20)}, rounds=3, label=""
    )
    assert calls == ["a", "slow", "b", "a", "b", "a", "b"]
    assert [len(times) for times in seconds.values()] == [3, 1, 3]


def test_resident_growth_sees_an_array() -> None:
    growth = resident_growth(lambda: np.ones(2**24))
    if growth is None:
        pytest.skip("Linux alone keeps the account")
    assert 0.9 * 2**27 < growth < 1.5 * 2**27


def test_the_cost_of_a_process(tmp_path: Path) -> None:
    code = "import time; x = bytes([1]) * 200_000_000; time.sleep(0.5); open('here', 'w')"
    cost = cost_of([sys.executable, "-c", code], environment=clean_environment(tmp_path))
    assert 0.5 < cost.seconds < 30
    assert 200e6 < cost.peak_bytes < 400e6
    assert not Path("here").exists()
    with pytest.raises(InputError, match=r"exit code 3; of this$"):
        cost_of([sys.executable, "-c", "print('because\\nof this'); exit(3)"], environment={})


def test_commands(tmp_path: Path) -> None:
    flags = ["--images", "3", "--steps", "1", "--rounds", "1", "--against", sys.executable]
    commands.main([*flags, "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "commands.json").read_text())
    assert [row["version"] for row in rows] == ["this", "other"] * 5
    for row in rows:
        assert row["seconds"] > 1
        assert row["peak_megabytes"] > 100
        assert ("times_as_fast" in row) == (row["version"] == "this")
        assert ("images_per_second" in row) == (", 3 images" in row["command"])


def test_serving(tmp_path: Path, tiny_run: Path, tiny_folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    flags = ["--requests", "250", "--clients", "3", "--port", port, "--out", str(tmp_path)]
    serving.main([str(tiny_run), str(tiny_folder / "test"), *flags])
    (row,) = json.loads((tmp_path / "serving.json").read_text())
    assert (row["requests"], row["failures"], row["compilations"]) == (250, 0, 0)
    # Plain scores differ by rounding, 1e-7; calibrated ones are these over standard deviations of
    # normal images, which are 2e-4 in this run of nearly untrained networks.
    assert row["largest_difference"] < 1e-3
    assert 0 < row["p50_ms"] <= row["p99_ms"]


def test_scaling(tmp_path: Path) -> None:
    flags = "--batches 2 --sizes 32 --iterations 0 --devices 1 --rounds 1"
    scaling.main([*flags.split(), "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "scaling.json").read_text())
    assert [(row["axis"], row["value"]) for row in rows] == [
        ("batch", 2),
        ("size", 32),
        ("iterations", 0),
        ("devices", 1),
    ]
    assert all(row["seconds_per_image"] > 0 and row["peak_memory_bytes"] > 0 for row in rows)
    assert (tmp_path / "scaling.png").stat().st_size > 1000


def test_more_devices_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--devices 8: there are 1 here"):
        scaling.main(["--devices", "8", "--out", str(tmp_path)])


@compiles
def test_timing_table(tmp_path: Path, untrained_run: Path) -> None:
    timing_table.main(
        ["--run", str(untrained_run), "--batches", "2", "--rounds", "1", "--out", str(tmp_path)]
    )
    rows = json.loads((tmp_path / "timing_table.json").read_text())
    assert {row["framework"] for row in rows[3:]} == {"JAX", "PyTorch"}
    queues = [
        (row["early_exit"], row["batch"]) for row in rows if row["variant"] == "queue on 1 device"
    ]
    assert queues == [(True, 2), (True, 4)]
    for row in rows[3:]:
        assert row["seconds_per_image"] > 0
        assert row["ratio_to_best_torch"] > 0
    assert "| JAX | queue on 1 device |" in (tmp_path / "timing_table.md").read_text()


def test_a_run_that_does_not_see_pixel_values(tmp_path: Path, tiny_run: Path) -> None:
    with pytest.raises(InputError, match=r"^--run .*--view whole --levelling no --centre none"):
        timing_table.main(["--run", str(tiny_run), "--out", str(tmp_path)])


@compiles
def test_training_speed(tmp_path: Path) -> None:
    # or the networks of another test, of other sizes, make this one's sizes symbols
    torch.compiler.reset()
    training_speed.main(["--batch", "1", "--rounds", "1", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "training_speed.json").read_text())
    assert rows[0]["framework"] == "JAX"
    assert all(row["steps_per_second"] > 0 for row in rows)


def test_metrics_memory(tmp_path: Path) -> None:
    metrics_memory.main(
        ["--maps", "1100", "--side", "16", "--scores", "1000", "--out", str(tmp_path)]
    )
    pixels, images = json.loads((tmp_path / "metrics_memory.json").read_text())
    assert 0.5 < pixels["pixel_auroc"] < 1
    assert 0 < pixels["pixel_aupro"] < 1
    assert 0.5 < images["image_auroc"] < 1
    for row in (pixels, images):
        assert row["difference"] < 1e-12
        assert row["seconds"] > 0
        assert row["peak_megabytes"] > 50


def test_reading(tmp_path: Path, tiny_folder: Path) -> None:
    reading.main([str(tiny_folder), "--rounds", "1", "--out", str(tmp_path)])
    rows = json.loads((tmp_path / "reading.json").read_text())
    assert [row["images"] for row in rows] == ["in memory", "in a file"]
    assert all(row["steps_per_second"] > 0 for row in rows)


def test_scale(tmp_path: Path, pca_run: Path, tiny_folder: Path) -> None:
    flags = ["--trial", "5", "--machines", "1", "4", "--check", "--out", str(tmp_path)]
    scale.main([str(pca_run), str(tiny_folder / "test"), *flags])
    rows = json.loads((tmp_path / "scale.json").read_text())
    assert [row["images"] for row in rows[::2]] == [6, *scale.SIZES]
    assert rows[0]["measured_hours"] > 0
    for row in rows:
        assert row["node_hours"] == row["machines"] * row["hours"]


def test_cost_of_an_image_is_a_sum_on_the_same_cores_and_else_a_maximum() -> None:
    costs = {"start": 5.0, "read": 0.002, "score": 0.006, "bytes": 1e5}
    one, other = (scale.Costs(**costs, shared=shared) for shared in (True, False))
    assert one.seconds(1000, machines=1, network=1e8) == pytest.approx(5 + 8)
    assert one.seconds(1000, machines=4, network=1e8) == pytest.approx(5 + 2)
    assert other.seconds(1000, machines=1, network=1e8) == pytest.approx(5 + 6)
    assert one.seconds(1000, machines=1, network=1e7) == pytest.approx(5 + 10)
    names = [c.bottleneck(network=x) for c in (one, other) for x in (1e8, 1e7)]
    assert names == ["cores", "network", "accelerator", "network"]

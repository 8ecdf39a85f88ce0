"""Processes that train together, each with its own devices, learn and score as one device."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
import pytest

from i3ad_jax.detector import Detector
from i3ad_jax.runs.calibration_file import calibration_json
from i3ad_jax.runs.results import read_results
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.train import __main__ as train
from tests.conftest import FlagsOf
from tests.support.ports import free_port
from tests.support.progress_lines import without_progress

ROOT = Path(__file__).parents[1]
ATOL = 2e-3  # of weights: see test_data_parallel.py


class Hosts:
    """Starts two processes of one training, as two machines would."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: Sequence[object], devices: int = 4) -> list[subprocess.Popen[str]]:
        """With the same arguments for both, or those of each."""
        port = free_port()
        environment = {
            **os.environ,
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_COMPILATION_CACHE_DIR": str(self._cache),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        started = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "i3ad_jax.train"),
                    *map(str, arguments[i % len(arguments)]),
                    *(
                        "--coordinator",
                        f"127.0.0.1:{port}",
                        "--num-processes",
                        "2",
                        "--process-id",
                        str(i),
                    ),
                ],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(2)
        ]
        self.processes += started
        return started

    def end(self, started: list[subprocess.Popen[str]]) -> list[tuple[int, str, list[str]]]:
        """Waits for both; exit code, output and the lines of errors (bars aside) of each."""
        ended = []
        for process in started:
            out, err = process.communicate(timeout=240)
            lines = without_progress(err.splitlines())
            ended.append(
                (process.returncode, out, [line for line in lines if "warning:" not in line])
            )
        return ended


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    found = Hosts(tmp_path_factory.mktemp("cache"))
    yield found
    for process in found.processes:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def flags(flags_of: FlagsOf) -> list[str]:
    """A training whose batch eight devices share."""
    return [*flags_of("l2_ae"), "--batch-size", "8", "--checkpoint-every", "40"]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, flags: list[str]) -> Path:
    """Trained on one device."""
    run = tmp_path_factory.mktemp("one") / "run"
    train.main([*flags, "--steps", "3", "--run", str(run)])
    return run


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory, flags: list[str], hosts: Hosts) -> Path:
    """Trained on four devices of each of two processes."""
    run = tmp_path_factory.mktemp("eight") / "run"
    first, second = hosts.end(hosts.start([*flags, "--steps", "3", "--run", run]))
    assert (first[0], first[2]) == (0, [])
    assert str(run / "report.html") in first[1]
    assert second == (0, "", [])  # it says and writes nothing
    return run


def agree(run: Path, other: Path) -> None:
    """Losses, weights and scores are the same up to rounding."""
    rows, others = (RunFolder(each).read_metrics() for each in (run, other))
    assert [row["step"] for row in rows] == [row["step"] for row in others]
    for row, expected in zip(rows, others, strict=True):
        losses = [name for name in row if name.endswith("loss")]
        assert losses
        np.testing.assert_allclose(
            [row[name] for name in losses], [expected[name] for name in losses], rtol=0, atol=1e-5
        )
    states = [jax.tree.leaves(Detector.load(each).state) for each in (run, other)]
    for x, y in zip(*states, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=ATOL * max(1, np.abs(y).max(initial=0)))
    scores, expected = (read_results(RunFolder(each)).scores for each in (run, other))
    for name in ("l2", "ssim"):
        np.testing.assert_allclose(scores[name], expected[name], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_hosts_learn_and_score_what_one_device_does(one: Path, eight: Path) -> None:
    agree(eight, one)


@pytest.mark.slow
def test_a_run_goes_on_with_more_hosts_and_with_fewer(
    one: Path, eight: Path, hosts: Hosts, tmp_path: Path
) -> None:
    more, fewer, longer = (tmp_path / name for name in ("more", "fewer", "longer"))
    shutil.copytree(one, more)
    shutil.copytree(eight, fewer)
    shutil.copytree(one, longer)
    started = hosts.start(["--run", more, "--resume", "--steps", "5"])
    train.main(["--run", str(fewer), "--resume", "--steps", "5"])
    train.main(["--run", str(longer), "--resume", "--steps", "5"])
    assert [(code, lines) for code, _, lines in hosts.end(started)] == [(0, []), (0, [])]
    agree(more, longer)
    agree(fewer, longer)


@pytest.mark.slow
def test_hosts_calibrate_as_one_does(eight: Path, tiny_folder: Path) -> None:
    shared = Detector.load(eight)
    held_out = [tiny_folder / path for path in shared.files.held_out]
    alone = shared.recalibrated(held_out).calibration
    assert calibration_json(alone).keys() == calibration_json(shared.calibration).keys()
    for name, scores in shared.calibration.held_out_scores.items():
        np.testing.assert_allclose(scores, alone.held_out_scores[name], rtol=1e-5, atol=1e-5)
    assert shared.calibration.headline == alone.headline


def rows(run: Path) -> list[dict[str, float]]:
    """Log of a run without its speed."""
    found = RunFolder(run).read_metrics()
    return [{name: x for name, x in row.items() if name != "steps_per_second"} for row in found]


def wait_for_step(run: Path, step: int) -> None:
    deadline = time.monotonic() + 240
    while not rows(run) or rows(run)[-1]["step"] < step:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_host_ends_the_other_and_a_restart_reaches_the_same_bits(
    flags: list[str], hosts: Hosts, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    started = hosts.start([*flags, "--steps", "1000000", "--run", run], devices=1)
    wait_for_step(run, 60)  # 20 steps beyond a checkpoint
    started[1].kill()
    clock = time.monotonic()
    first, second = hosts.end(started)
    assert time.monotonic() - clock < 90
    assert second[0] == -signal.SIGKILL
    assert first[0] != 0
    assert [line.partition(" of ")[0] for line in first[2]] == ["error: another process"]
    assert "--resume" in first[2][0]
    before = rows(run)
    started = hosts.start(["--run", run, "--resume"], devices=1)
    wait_for_step(run, int(before[-1]["step"]) + 20)
    started[1].send_signal(signal.SIGTERM)
    first, second = hosts.end(started)
    assert [first[0], second[0]] == [128 + signal.SIGTERM] * 2
    assert second[1:] == ("", [])
    after = rows(run)
    assert after[: len(before)] == before
    assert f"stopped after step {after[-1]['step']}, which is saved" in "\n".join(first[2])
    assert (run / "checkpoints" / str(after[-1]["step"])).is_dir()


@pytest.mark.slow
def test_what_is_wrong_for_one_host_is_said_by_all(
    flags: list[str], hosts: Hosts, tmp_path: Path
) -> None:
    run, nothing = tmp_path / "run", tmp_path / "nothing"
    ended = hosts.end(
        hosts.start([*flags, "--run", run], [*flags, "--run", run, "--data", nothing])
    )
    for code, out, (line,) in ended:
        assert (code, out) == (2, "")
        assert str(nothing) in line
    assert ended[0][2][0].startswith("error: process 1 of 2: ")
    assert not run.exists()


# Eight simulated devices need a process of their own. The shape of what each collective gives, by
# its kind.
COLLECTIVES = """
import json
import re
import sys
from dataclasses import replace
import jax
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_disable_most_optimizations", True)  # quick to compile
import numpy as np
from tests.conftest import tiny_settings
from tests.support.made_up_plan import made_up_plan
from i3ad_jax.config import default_config
from i3ad_jax.training.steps import Training, run_steps
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.preprocessing.preprocessing import Preprocessing
from i3ad_jax.training.batches import Augmentation, TrainingImages
from i3ad_jax.runtime.devices import copied_to_all

config = default_config(sys.argv[1])
settings = {**tiny_settings(sys.argv[1]), "batch_size": 8, "segmenter_batch_size": 8}
config = config.with_settings({name: x for name, x in settings.items() if name in config.flat()})
method = made_up_plan(config).method
images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
preprocessing = Preprocessing.learn(images[:15], images[15:], side=32)
preprocessing = replace(preprocessing, levels=2 if method.num_planted else 0)
program = jax.jit(run_steps.__wrapped__)
KINDS = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast"

def collectives(devices):
    planted = method.num_planted, 16
    drawn = TrainingImages(images, preprocessing, batch_size=8, seed=0, planted=planted)
    block = next(drawn.blocks(0, 1, together=1, devices=devices))
    sizes = preprocessing.level_sizes
    planting = Augmentation.of(preprocessing, "turn", sizes) if sizes else None
    augmentations = Augmentation.of(preprocessing, "turn"), planting
    state, augmentations = copied_to_all(
        devices, (fresh_state(jax.random.key(0), method), augmentations)
    )
    training = Training(method, devices, *augmentations, jax.random.key(1))
    lowered = program.lower(training, state, block, 0, 2)
    found = re.findall(rf"= (\\(.*?\\)|\\S+) ({KINDS})(?:-start)?\\(", lowered.compile().as_text())
    return [[kind, re.findall(r"\\[([0-9,]*)\\]", shapes)] for shapes, kind in found]

print(json.dumps([collectives(devices) for devices in (2, 8)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "networks", "others"),
    [
        ("l2_ae", 1, []),
        # The image that a planted defect is copied from may be the device's before it.
        ("i3ad", 3, [["collective-permute", ["1,16,16,3"]]]),
    ],
)
def test_devices_exchange_one_sum_of_gradients_for_each_network(
    method: str, networks: int, others: list[list[object]]
) -> None:
    command = [sys.executable, "-c", COLLECTIVES, method]
    found = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout
    for collectives in json.loads(found):
        assert len([kind for kind, _ in collectives if kind == "all-reduce"]) == networks
        assert [each for each in collectives if each[0] != "all-reduce"] == others

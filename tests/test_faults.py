"""A quick slice of the trial by machine, and what the trial found, each by itself."""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Fails
from faults.case import Case, Material, judge
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.check import __main__ as check
from i3ad_jax.data.images import read_bytes, read_image
from i3ad_jax.data.layouts.layout import list_folder
from i3ad_jax.data.layouts.manifest import read_csv
from i3ad_jax.data.packed import read_packed
from i3ad_jax.data.stored import StoredArray
from i3ad_jax.errors import InputError
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.files import read_array, read_json, write_json, write_text
from i3ad_jax.runs.form import misfit
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.memory import check_room
from i3ad_jax.train import __main__ as train

ROOT = Path(__file__).parents[1]
# What no sample may leave out: every way in which commands once ended badly.
ALWAYS = (
    "environments/train/full-at-19200",
    "environments/train/out=long",
    "environments/predict/stdout-full",
    "environments/predict/JAX_PLATFORMS=cuda",
    "images/tiff-deflate/flipped-1",
    "images/png-colour/fifo",
    "layouts/mvtec/class-not-utf-8/pack",
    "runs/calibration.json/learned=list/predict",
    "runs/statistics/l2_calibrated.npy/fifo/predict",
    "runs/results.json/thresholds.ms_ssim=null/report",
    "runs/checkpoints/1/state/array_metadatas/process_0/empty/predict",
    "runs/scores.csv/fifo/report",
    "runs/plan.json/preprocessing.scale=true/predict",
    "runs/results.json/scores.l2.image_auroc=null/report",
    "runs/checkpoints/file/predict",
    "runs/checkpoints/7-empty/predict",
    "images/tiff-pages/whole",
    "images/png-animated/whole",
    "prepared/archive/image-text",
    "options/train-i3ad/generator-learning-rate='inf'",
    "options/train-i3ad/discriminator-depth='1000000'",
    "options/train-i3ad/image-size='-1'",
    "options/train-i3ad/iterations='2147483648'",
    "options/train-pca/components='1000000'",
    "options/predict/workers='2147483648'",
)


GROUPS = ("--only", "options", "images", "layouts", "runs")  # the others take seconds each


@pytest.mark.slow
def test_a_slice_of_the_trial_has_no_miss() -> None:
    also = [word for name in ALWAYS for word in ("--also", name)]
    command = [sys.executable, "-m", "tests.faults", "--sample", "200", *GROUPS, *also]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "errors", "outcome"),
    [
        (0, "", "accepted"),
        (3, "one could not be used\n", "accepted"),
        (2, "error: --option 1: must be 2\n", "refused"),
        (2, "bar: 10%|# | 1/9\rwarning: odd\nerror: --option 1: must be 2\n", "refused"),
        (2, "libtiff: odd\nerror: --option 1: must be 2\n", "untidy"),
        (2, "error: something\n", "unnamed"),
        (2, "", "untidy"),
        (1, "Traceback (most recent call last):\nValueError: 1\n", "traceback"),
        (7, "", "untidy"),
        (-9, "", "killed"),
    ],
)
def test_the_trial_tells_outcomes_apart(
    tmp_path: Path, code: int, errors: str, outcome: str
) -> None:
    case = Case("group/name", ("train",), "refused", "--option")
    material = Material(tmp_path, tmp_path, b"")
    assert judge(case, tmp_path, code=code, errors=errors, material=material)[0] == outcome


def test_the_trial_sees_what_is_left_behind_and_scores_that_are_none(tmp_path: Path) -> None:
    case, material = (
        Case("group/name", ("predict",), "same"),
        Material(tmp_path, tmp_path, b"a,1.0\n"),
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out/predictions.csv").write_text("a,1.0\n")
    assert judge(case, tmp_path, code=0, errors="", material=material)[0] == "accepted"
    (tmp_path / "out/predictions.csv").write_text("a,2.0\n")
    assert judge(case, tmp_path, code=0, errors="", material=material)[0] == "different"
    plain = Case("group/name", ("predict",), "accepted")
    (tmp_path / "out/predictions.csv").write_text("a,nan\n")
    assert judge(plain, tmp_path, code=0, errors="", material=material)[0] == "infinite"
    (tmp_path / "out/.scores.csv.123").touch()
    assert judge(plain, tmp_path, code=0, errors="", material=material)[0] == "untidy"


def test_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", Path("/dev/zero")):
        for read in (read_bytes, read_image, read_json, read_array, StoredArray.open):
            with pytest.raises(InputError, match="not a regular file"):
                read(file)
        with pytest.raises(InputError, match="not a regular file"):
            next(read_csv(file, ("path",)))


def test_a_name_that_no_text_file_can_hold_is_refused(
    fails: Fails, tmp_path: Path, pca_run: Path
) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.png"))
    file.write_bytes(b"")
    with pytest.raises(InputError, match="not UTF-8"):
        list_folder(tmp_path)
    assert "not UTF-8" in fails(predict.main, [pca_run, tmp_path, "--out", tmp_path / "out"])
    assert "not UTF-8" in fails(check.main, [tmp_path / "\udcff"])


def test_what_is_not_written_whole_leaves_nothing_behind(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    for content in ("\udcff", 1):
        with pytest.raises((UnicodeEncodeError, TypeError)):
            write_text(tmp_path / "file", content)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", float("nan"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@pytest.fixture
def short_files() -> Iterator[None]:
    """Lets files of this process end after some bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("short_files")
def test_a_checkpoint_on_a_full_disk_is_one_line(fails: Fails, tmp_path: Path) -> None:
    def save(_: object) -> None:
        with Checkpoints(tmp_path / "checkpoints") as checkpoints:
            checkpoints.save(3, {"a": np.random.default_rng(0).random(9999)})

    message = f"error: {tmp_path}/checkpoints/3: cannot be written to (File too large)"
    assert fails(save, []).startswith(message)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (MemoryError(), "--batch-size"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), "--batch-size"),
        (OSError(28, "No space left on device", "file"), "file: No space left"),
        (OSError(28, "No space left on device"), "No space left"),
    ],
    ids=str,
)
def test_what_the_machine_lacks_is_one_line(fails: Fails, error: Exception, named: str) -> None:
    def command(_: object) -> None:
        raise error

    assert named in fails(command, [])


def test_a_mistake_of_the_program_keeps_its_traceback(fails: Fails) -> None:
    def command(_: object) -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        fails(command, [])


def test_sizes_beyond_memory_are_refused_before_anything_is_made(
    fails: Fails, tmp_path: Path
) -> None:
    sizes = ["--method", "l2_ae", "--image-size", "9600", "--batch-size", "65536"]
    message = fails(train.main, [*sizes, "--run", tmp_path / "run"])
    assert re.search(r"--batch-size 65536.*GiB", message)
    assert not (tmp_path / "run").exists()


def test_room_for_arrays_is_what_the_machine_has() -> None:
    check_room(2**20, lower={"width": 3})
    with pytest.raises(InputError, match=r"^--width 3 or --queue-size 4: needs 1048576.0 GiB"):
        check_room(2**50, lower={"width": 3, "queue_size": 4})


def test_nothing_to_predict_is_a_mistake(fails: Fails, pca_run: Path, tmp_path: Path) -> None:
    assert "no path given" in fails(predict.main, [pca_run, "--out", tmp_path / "out"])
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.png").symlink_to("nowhere")
    message = fails(
        predict.main, [pca_run, tmp_path / "folder", "--out", tmp_path / "out", "--strict"]
    )
    assert "a.png" in message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values)
def test_whatever_is_json_is_of_a_form_or_named(value: Any) -> None:
    form = {"a": int, "b": (float, None), ...: {...: str}}
    found = misfit(value, form)
    whole = isinstance(value, dict) and type(value.get("a")) is int and "b" in value
    assert (found is None) <= whole
    assert misfit({"a": 1, "b": None, "more": {"c": "text"}}, form) is None


@given(st.binary(max_size=200) | json_values.map(json.dumps).map(str.encode))
def test_whatever_a_file_holds_is_read_or_refused(tmp_path_factory: Any, content: bytes) -> None:
    file, numpy = tmp_path_factory.getbasetemp() / "whatever", np.lib.format.magic(1, 0)
    for prefix in (b"", numpy, numpy + b"v\x00{'descr': '<f4', 'shape': (", b"path\n"):
        file.write_bytes(prefix + content)
        for read in (
            read_json,
            read_array,
            StoredArray.open,
            lambda file: [*read_csv(file, ("path",))],
        ):
            with suppress(InputError):
                read(file)


@given(json_values)
def test_whatever_marks_packed_data_is_read_or_refused(tmp_path_factory: Any, value: Any) -> None:
    folder = tmp_path_factory.getbasetemp()
    base = {"name": "a", "aspect": "stretch", "sizes": [[8, 8]], "sha256": {}}
    for values in (value, *({**base, key: value} for key in base)):
        (folder / "packed.json").write_text(json.dumps(values))
        with pytest.raises(InputError, match=r"packed.json|train.csv|aspect|was packed"):
            read_packed(folder, size=(8, 8), aspect="stretch")


@given(st.binary(max_size=300))
def test_whatever_stands_in_metrics_is_rows_or_left_out(
    tmp_path_factory: Any, content: bytes
) -> None:
    folder = RunFolder(tmp_path_factory.getbasetemp())
    good = b'{"step": 3, "loss": 0.5}\n'
    folder.metrics.write_bytes(good + content)
    rows = folder.read_metrics()
    assert rows[0] == {"step": 3, "loss": 0.5}
    assert all(type(row["step"]) is int for row in rows)

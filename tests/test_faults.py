"""A quick slice of the trial by machine, and what the trial found, each by itself."""

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.check import __main__ as check
from i3ad_jax.data.images import read_bytes, read_image
from i3ad_jax.data.layouts.manifest import read_csv
from i3ad_jax.data.search import list_folder
from i3ad_jax.data.stored import StoredArray
from i3ad_jax.errors import InputError
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.files import read_array, read_json
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails
from tests.faults.case import Case, Material, judge

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
        (2, "train: compiling ...\ntrain: 1/9 steps (10 %), 4 s\nerror: --option 1\n", "refused"),
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
    equal = Case("group/name", ("train",), "equal")
    (tmp_path / "scores.csv").write_text("a,1.0\n")
    (tmp_path / "out/predictions.csv").write_text("a,1.0\n")
    (tmp_path / "out/scores.csv").write_text("a,1.0\n")
    assert judge(equal, tmp_path, code=0, errors="", material=material)[0] == "accepted"
    (tmp_path / "out/scores.csv").write_text("a,2.0\n")
    assert judge(equal, tmp_path, code=0, errors="", material=material)[0] == "different"
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


def test_sizes_beyond_memory_are_refused_before_anything_is_made(
    fails: Fails, tmp_path: Path
) -> None:
    sizes = ["--method", "l2_ae", "--image-size", "9600", "--batch-size", "65536"]
    message = fails(train.main, [*sizes, "--run", tmp_path / "run"])
    assert re.search(r"--batch-size 65536.*GiB", message)
    assert not (tmp_path / "run").exists()


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

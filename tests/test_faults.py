"""A quick slice of the trial by machine, and what the trial found, each by itself."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
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
from i3ad_jax.pack import __main__ as pack
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.files import read_array, read_json
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails
from tests.faults.case import Case, Material, judge
from tests.faults.material import write_data
from tests.faults.meaning import Meaning, meaning

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
    "unusual/tiff/more/big-swapped",
    "unusual/png/grey-alpha-16-interlaced-5",
    "unusual/png/rgb-16-interlaced-1",
    "unusual/orientation/tiff-16-planes-7",
    "unusual/refused/rgb-f8/predict",
    "unusual/refused/start-of-png/predict",
    "unusual/masks/0-85-170/tiff-lzw",
    "unusual/masks/alpha-255-of-black",
    "unusual/masks/red-on-white",
    "unusual/folders/synology/test",
    "unusual/folders/links-nowhere/train",
    "unusual/folders/pictures-inside-resumed",
    "unusual/names/test-NORMAL",
    "unusual/paths/data-called-textures/bare",
    "unusual/manifest/bom-crlf",
)


GROUPS = (
    "--only",
    "options",
    "images",
    "layouts",
    "runs",
    "unusual",
)  # the others take seconds each


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
        (2, "train: compiling ...\nerror: --option 1: must be 2\n", "refused"),
        (2, "train: 1/9 steps (10 %), 4 s\nerror: --option 1: must be 2\n", "refused"),
        (2, "libtiff: odd\nerror: --option 1: must be 2\n", "untidy"),
        (2, "error: something\n", "unnamed"),
        (2, "error: --option 1: must\n", "unnamed"),
        (2, "", "untidy"),
        (1, "Traceback (most recent call last):\nValueError: 1\n", "traceback"),
        (7, "", "untidy"),
        (-9, "", "killed"),
    ],
)
def test_the_trial_tells_outcomes_apart(
    tmp_path: Path, code: int, errors: str, outcome: str
) -> None:
    case = Case("group/name", ("train",), "refused", "--option", cause="must be")
    material = Material(tmp_path, tmp_path, {})
    assert judge(case, tmp_path, code=code, errors=errors, material=material)[0] == outcome


def test_the_trial_sees_what_is_left_behind_and_scores_that_are_none(tmp_path: Path) -> None:
    scores = [{"path": "a.png", "map": "maps/a.npy", "l2": "1.0"}]
    material = Material(tmp_path, tmp_path, {"scores": write_scores(tmp_path / "usual", scores)})
    same, equal, accepted = (
        Case("group/name", ("predict",), expected) for expected in ("same", "equal", "accepted")
    )

    def outcome(case: Case) -> str:
        return judge(case, tmp_path, code=0, errors="", material=material)[0]

    assert (outcome(same), outcome(equal)) == ("accepted", "different")  # no result at all
    write_scores(tmp_path / "out", [{"path": "b.tif", "picture": "heat/b.png", "l2": "1.0"}])
    assert (outcome(same), outcome(equal)) == ("accepted", "accepted")
    write_scores(tmp_path / "out", [{**scores[0], "l2": "2.0"}])
    assert (outcome(same), outcome(equal)) == ("different", "different")
    write_scores(tmp_path / "out", [*scores, *scores])
    assert outcome(same) == "different"
    write_scores(tmp_path / "out", [{**scores[0], "l2": "nan"}])
    assert outcome(accepted) == "infinite"
    (tmp_path / "out/.scores.csv.123").touch()
    assert outcome(accepted) == "untidy"


def write_scores(out: Path, rows: list[dict[str, str]]) -> Meaning:
    """Write predictions and return what the trial compares of them."""
    out.mkdir(exist_ok=True)
    with (out / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = meaning(out)
    assert found is not None
    return found


def test_scores_of_several_images_belong_to_their_names(tmp_path: Path) -> None:
    rows = [{"path": "x/a.png", "l2": "1"}, {"path": "x/b.png", "l2": "2"}]
    usual = write_scores(tmp_path, rows)
    assert write_scores(tmp_path, rows[::-1]) == usual
    moved = [{**row, "path": f"y/{Path(row['path']).stem}.tif"} for row in rows]
    assert write_scores(tmp_path, moved) == usual
    swapped = [{**row, "path": other["path"]} for row, other in zip(rows, rows[::-1], strict=True)]
    assert write_scores(tmp_path, swapped) != usual


def test_packed_data_are_compared_by_pixels_masks_and_labels(tmp_path: Path) -> None:
    def packed(name: str, spoil: Callable[[Path], object] = str) -> Meaning:
        data, out = tmp_path / name, tmp_path / f"{name}-out"
        write_data(data)
        spoil(data)
        options = ["--method", "pca", "--image-size", "32", "--view", "whole"]
        pack.main([str(data), "--out", str(out), *options])
        found = meaning(out)
        assert found is not None
        return found

    spot = "ground_truth/spot"
    usual = packed("usual")
    assert len(usual) == 14
    renamed = packed(
        "renamed", lambda data: (data / "test/good/0.png").rename(data / "test/good/x.png")
    )
    assert renamed == usual
    assert packed("class", lambda data: (data / "test/good").rename(data / "test/bad")) != usual
    assert packed("no-mask", lambda data: (data / spot / "1_mask.png").unlink()) != usual
    assert (
        packed(
            "other-mask",
            lambda data: shutil.copy(data / spot / "0_mask.png", data / spot / "2_mask.png"),
        )
        != usual
    )
    assert (
        packed(
            "other-image",
            lambda data: shutil.copy(data / "test/good/0.png", data / "test/good/1.png"),
        )
        != usual
    )


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
    assert "IMAGES: name images" in fails(predict.main, [pca_run, "--out", tmp_path / "out"])
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

"""A run's calibration on disk."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax import Detector, InputError
from i3ad_jax.runs.calibration_file import calibration_json, read_calibration, write_calibration
from i3ad_jax.runs.run_folder import RunFolder


@pytest.fixture(scope="module")
def detector(pca_run: Path) -> Detector:
    return Detector.load(pca_run)


def test_what_is_written_is_read(detector: Detector, pca_run: Path, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(pca_run, tmp_path / "run"))
    shutil.rmtree(folder.statistics)
    folder.calibration.unlink()
    write_calibration(detector.calibration, folder)
    found = read_calibration(
        folder,
        method=detector.method,
        size=detector.preprocessing.size,
        step=detector.calibration.step,
        state=detector.state,
    )
    assert calibration_json(found) == calibration_json(detector.calibration)
    assert {*found.statistics} == {*detector.calibration.statistics} != set()
    for name, own in found.statistics.items():
        np.testing.assert_array_equal(own.mean, detector.calibration.statistics[name].mean)
        np.testing.assert_array_equal(own.sd, detector.calibration.statistics[name].sd)


def test_a_calibration_of_another_step_is_refused(detector: Detector, pca_run: Path) -> None:
    with pytest.raises(InputError, match=r"calibration.json: made with the weights of step"):
        read_calibration(
            RunFolder(pca_run),
            method=detector.method,
            size=detector.preprocessing.size,
            step=detector.calibration.step + 1,
            state=detector.state,
        )

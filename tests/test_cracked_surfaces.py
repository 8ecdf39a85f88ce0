"""The synthetic data set that requires tiles."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import cracked_surfaces
from i3ad_jax.data.folder import read_folder
from i3ad_jax.data.reading import ReadingSettings
from tests.conftest import Fails


def test_a_data_set_with_thin_cracks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    monkeypatch.setattr(cracked_surfaces, "COUNTS", dict.fromkeys(cracked_surfaces.COUNTS, 2))
    for name in ("first", "second"):
        cracked_surfaces.main(["--out", str(tmp_path / name)])
    files = {
        path.relative_to(tmp_path / "first"): path for path in (tmp_path / "first").rglob("*.*")
    }
    for name, path in files.items():
        assert path.read_bytes() == (tmp_path / "second" / name).read_bytes()
    data = read_folder(
        tmp_path / "first", size=(629, 250), aspect="stretch", reading=ReadingSettings("auto")
    )
    assert (len(data.train), len(data.test)) == (2, 4)
    for number in range(2):
        mask = (
            np.asarray(Image.open(tmp_path / f"first/ground_truth/crack/{number:03}_mask.png")) > 0
        )
        image = np.asarray(Image.open(tmp_path / f"first/test/crack/{number:03}.jpg"))
        assert image.shape == mask.shape == (1258, 500)
        assert 0 < mask.mean() < 0.005
        assert image[mask].mean() < 0.85 * image[~mask].mean()
    assert "first: cannot be made (File exists); name a new folder" in fails(
        cracked_surfaces.main, ["--out", tmp_path / "first"]
    )

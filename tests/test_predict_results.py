"""Files of a prediction: maps in every format, and a table that grows."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.errors import InputError
from i3ad_jax.predict.results import MapFormat, PredictionFiles

MAP = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
ABOUT = {"run": "r"}


def grow(folder: Path, rows: list[list[str]], *, resume: bool = False, unit: int = 1) -> int:
    """Add rows and stop before the table is finished; return the number of rows kept."""
    kept = -1
    with (
        suppress(KeyboardInterrupt),
        PredictionFiles(folder).growing_table(["a", "b"], ABOUT, resume=resume, unit=unit) as table,
    ):
        kept = table.kept
        for row in rows:
            table.add(row)
        raise KeyboardInterrupt
    return kept


@pytest.mark.parametrize("name", ["npy", "npz", "png"])
def test_maps_come_back(tmp_path: Path, name: MapFormat) -> None:
    files = PredictionFiles(tmp_path)
    files.maps.mkdir()
    files.write_map("x", MAP, name)
    file = files.maps / f"x.{name}"
    if name == "png":
        with Image.open(file) as opened:
            low, high = (float(opened.info[key]) for key in ("minimum", "maximum"))
            found = low + np.asarray(opened) * (high - low) / 65535
        assert (low, high) == (MAP.min(), MAP.max())
        np.testing.assert_allclose(found, MAP, rtol=0, atol=(high - low) / 65535)
    else:
        found = np.load(file)
        np.testing.assert_array_equal(found if name == "npy" else found["anomaly_map"], MAP)


def test_whole_rows_are_kept_in_multiples_of_the_unit(tmp_path: Path) -> None:
    rows = [[str(number), 'text, "quoted"\nin lines'] for number in range(5)]
    assert grow(tmp_path, rows) == 0
    assert grow(tmp_path, [], resume=True) == 5
    content = PredictionFiles(tmp_path).partial.read_bytes()
    PredictionFiles(tmp_path).partial.write_bytes(content[:-3])  # within the fifth row
    assert grow(tmp_path, [], resume=True, unit=3) == 3
    assert grow(tmp_path, []) == 0  # begins anew
    assert grow(tmp_path, [], resume=True) == 0


def test_a_finished_table_belongs_to_its_prediction(tmp_path: Path) -> None:
    files = PredictionFiles(tmp_path)
    grow(tmp_path, [["1", "x"]])
    with files.growing_table(["a", "b"], ABOUT, resume=True, unit=1) as table:
        table.add(["2", "y"])
    assert files.read_table() == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    assert files.finished(ABOUT)
    assert not files.finished({"run": "another"})
    grow(tmp_path, [])
    with (
        pytest.raises(InputError, match="another run"),
        files.growing_table(["a"], {"run": "another"}, resume=True, unit=1),
    ):
        pass

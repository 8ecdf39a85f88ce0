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


def grow(folder: Path, rows: list[list[str]], *, unit: int = 1) -> int:
    """Add rows and stop before the table is finished; return the number of rows kept."""
    kept = -1
    files = PredictionFiles(folder)
    files.begin(ABOUT, resume=True)
    with suppress(KeyboardInterrupt), files.growing_table(["a", "b"], unit=unit) as table:
        kept = table.kept
        for row in rows:
            table.add(row)
        raise KeyboardInterrupt
    return kept


@pytest.mark.parametrize("name", ["npy", "npz", "png"])
def test_maps_come_back(tmp_path: Path, name: MapFormat) -> None:
    assert PredictionFiles(tmp_path).write_map("sub/x", MAP, name) == f"maps/sub/x.{name}"
    file = tmp_path / f"maps/sub/x.{name}"
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
    assert grow(tmp_path, []) == 5
    content = PredictionFiles(tmp_path).partial.read_bytes()
    PredictionFiles(tmp_path).partial.write_bytes(content[:-3])  # within the fifth row
    assert grow(tmp_path, [], unit=3) == 3
    PredictionFiles(tmp_path).partial.unlink()
    assert grow(tmp_path, []) == 0


def test_a_folder_belongs_to_one_prediction(tmp_path: Path) -> None:
    files = PredictionFiles(tmp_path)
    grow(tmp_path, [["1", "x"]])
    with files.growing_table(["a", "b"], unit=1) as table:
        table.add(["2", "y"])
    assert files.read_table() == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    assert files.finished()
    files.begin(ABOUT, resume=True)
    with pytest.raises(InputError, match=r"--out .*: holds predictions.json.*--resume"):
        files.begin(ABOUT, resume=False)
    for other in ({"run": "another"}, {}, {**ABOUT, "images_a_part": 2}):
        with pytest.raises(InputError, match=r"--out .*another run.*name another --out"):
            files.begin(other, resume=True)


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    files = PredictionFiles(tmp_path)
    files.begin(ABOUT, resume=False)
    files.write_map("sub/x", MAP, "npy")
    (tmp_path / "maps/sub/.12.y.npy").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/.12.y.npy").touch()  # of another command
    files.begin(ABOUT, resume=True)
    assert [file.name for file in (tmp_path / "maps/sub").iterdir()] == ["x.npy"]
    assert (tmp_path / "sub/.12.y.npy").exists()

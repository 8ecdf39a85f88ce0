"""Writers and readers of a run's small files."""

from pathlib import Path

import numpy as np
import pytest

from i3ad_jax.runs.files import append_line, write_array, write_csv, write_json, write_text
from tests.support.power_cut import Disk, content


def test_every_writer_of_small_files_waits_for_the_disk(disk: Disk, tmp_path: Path) -> None:
    write_text(tmp_path / "text", "text")
    write_json(tmp_path / "json", {"a": 1})
    write_array(tmp_path / "array.npy", np.arange(5))
    write_csv(tmp_path / "csv", ["a"], [[1]])
    assert disk.kept == content(tmp_path)
    append_line(tmp_path / "log", {"a": 1})
    assert "log" not in disk.kept  # lines wait for the next checkpoint


def test_what_is_not_written_whole_leaves_nothing_behind(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "old")
    for unwritable in ("\udcff", 1):
        with pytest.raises((UnicodeEncodeError, TypeError)):
            write_text(tmp_path / "file", unwritable)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file", float("nan"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"

"""Fixtures that several test files share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# A folder of real data sets in MVTec layout.
REAL_DATA = Path(os.environ.get("I3AD_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Gives the folder of a real data set by its name; skips the test where there is none."""

    def find(name: str) -> Path:
        if not (REAL_DATA / name / "train").is_dir():
            pytest.skip(f"{REAL_DATA / name} does not exist")
        return REAL_DATA / name

    return find

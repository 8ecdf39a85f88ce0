"""JSON files of a run, to read and to damage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from i3ad_jax.runs.files import without_digest, write_with_digest


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def edit(file: Path, change: Callable[[Any], object], *, new_digest: bool = False) -> None:
    """Changes what a JSON file holds, with its old checksum or a new one."""
    values = read(file)
    change(values)
    if new_digest:
        write_with_digest(file, without_digest(values))
    else:
        file.write_text(json.dumps(values))

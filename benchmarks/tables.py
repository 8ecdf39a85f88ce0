"""Tables that people read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_markdown(
    file: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, notes: Mapping[str, Any]
) -> None:
    """Writes the rows as a Markdown table, and below it the notes, a line each; nothing stands as a dash."""
    table = [columns, ["---"] * len(columns), *([_cell(row.get(name)) for name in columns] for row in rows)]
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    lines += ["", *(f"- {name}: {value}" for name, value in notes.items())]
    file.write_text("\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

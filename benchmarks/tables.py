"""Tables that people read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i3ad_jax.runs.files import write_json, write_text


def publish(
    folder: Path,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    notes: Mapping[str, Any],
) -> None:
    """Writes a table as `write` does, and prints it."""
    print(write(folder, name, columns, rows, notes=notes))


def write(
    folder: Path,
    name: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    notes: Mapping[str, Any],
) -> str:
    """Write the rows to NAME.json and a table with notes to NAME.md; return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _markdown(columns, rows, notes)
    write_json(folder / f"{name}.json", list(rows))
    write_text(folder / f"{name}.md", text)
    return text


def _markdown(
    columns: Sequence[str], rows: Sequence[Mapping[str, Any]], notes: Mapping[str, Any]
) -> str:
    """A table, and below it the notes, a line each; what is missing stands as a dash."""
    table = [
        columns,
        ["---"] * len(columns),
        *([_cell(row.get(name)) for name in columns] for row in rows),
    ]
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    lines += ["", *(f"- {name}: {value}" for name, value in notes.items())]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)

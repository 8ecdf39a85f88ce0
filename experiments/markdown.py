"""Tables, and the notes below them, as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    """A table, a line for each row."""
    rows = (" | ".join(map(str, cells)) for cells in (header, ["---"] * len(header), *lines))
    return "\n".join(f"| {row} |" for row in rows)


def page(title: str, parts: Iterable[str], notes: Mapping[str, Any]) -> str:
    """A title, the parts of the text, and below them the notes, a line each."""
    below = "\n".join(f"- {name}: {listed(value)}" for name, value in notes.items())
    return "\n\n".join([f"# {title}", *parts, below]) + "\n"


def listed(value: Any) -> str:
    """The items of a list, or the names and values of a dict, one after the other."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

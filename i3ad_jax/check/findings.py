"""`Finding`: one problem or note of a check of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Severity = Literal["error", "warning", "note"]
"""An error would spoil results or stop a training; a warning may mislead; a note is good to
know."""
SEVERITIES: Sequence[Severity] = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """Problem or note of a check.

    Attributes:
        severity: error, warning or note.
        kind: name of the problem in `snake_case`; findings of a kind have one severity.
        files: images and masks that it is about, relative to the data set's root; may be empty.
        message: one sentence for people that says what to do.
    """

    severity: Severity
    kind: str
    files: tuple[str, ...]
    message: str

    def to_json(self) -> dict[str, Any]:
        """JSON values by attribute."""
        return {
            "severity": self.severity,
            "kind": self.kind,
            "files": list(self.files),
            "message": self.message,
        }

"""An inspection as one HTML file with thumbnails, which opens offline; see `report/templates/`."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from i3ad_jax.check.findings import SEVERITIES, Finding
from i3ad_jax.check.inspection import Inspection
from i3ad_jax.check.text import by_kind, costs, facts, verdict
from i3ad_jax.data.images import read_image
from i3ad_jax.data.masks import read_mask
from i3ad_jax.errors import InputError
from i3ad_jax.pictures import data_uri
from i3ad_jax.report.page import render
from i3ad_jax.runs.files import write_text

SIDE = 160  # pixels of a thumbnail's longer side
OF_A_CLASS = 8  # thumbnails of each class
OF_A_KIND = 24  # findings of a kind with thumbnails; check.json has all
OF_A_FINDING = 6


def write_page(file: Path, inspection: Inspection) -> None:
    """Writes the page to `file`, whole or not at all."""
    pictures = _Pictures(inspection)
    html = render(
        "check.html.jinja",
        data=str(inspection.root),
        verdict=verdict(inspection),
        facts=facts(inspection),
        costs=costs(inspection),
        findings=[
            (
                severity,
                kind,
                len(group),
                [_view(finding, pictures) for finding in group[:OF_A_KIND]],
            )
            for severity in SEVERITIES
            for kind, group in by_kind(inspection.findings, severity).items()
        ],
        classes=_classes(inspection, pictures),
    )
    write_text(file, html)


class _Pictures:
    """Thumbnails as `data:` addresses by path; None for what cannot be read."""

    def __init__(self, inspection: Inspection) -> None:
        self.folder, self.found = inspection.folder, dict[str, str | None]()
        self.masks = {mask.path for record in inspection.records.images for mask in record.masks}

    def __getitem__(self, path: str) -> str | None:
        if path not in self.found:
            self.found[path] = self._make(path)
        return self.found[path]

    def _make(self, path: str) -> str | None:
        try:
            file = self.folder / path
            picture = Image.fromarray(read_mask(file)) if path in self.masks else read_image(file)
        except InputError:
            return None
        picture = picture.convert("RGB")
        picture.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
        return data_uri(picture, lossless=False)


def _view(finding: Finding, pictures: _Pictures) -> dict[str, Any]:
    """Return the fields of a finding that the page shows."""
    shown = [(path, pictures[path]) for path in finding.files[:OF_A_FINDING]]
    return {
        "message": finding.message,
        "pictures": shown,
        "hidden": len(finding.files) - len(shown),
    }


def _classes(
    inspection: Inspection, pictures: _Pictures
) -> dict[str, list[tuple[str, str | None]]]:
    """Some images of each class, evenly spaced over their paths."""
    found = {}
    for part, classes in inspection.counts().items():
        for defect, count in sorted(classes.items()):
            records = [r for r in inspection.records.images if (r.part, r.defect) == (part, defect)]
            chosen = np.unique(np.linspace(0, count - 1, OF_A_CLASS).round().astype(int))
            found[f"{part}: {defect} ({count})"] = [
                (records[i].path, pictures[records[i].path]) for i in chosen.tolist()
            ]
    return found

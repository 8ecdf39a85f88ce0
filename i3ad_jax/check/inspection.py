"""`inspect_data`: everything that is to be known of a data set before training on it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i3ad_jax.check.checks import CHECKS
from i3ad_jax.check.choices import Choices, predict_choices
from i3ad_jax.check.cost import Cost, Images, estimate, matrix_product_rate
from i3ad_jax.check.findings import SEVERITIES, Finding
from i3ad_jax.check.records import Records, read_records
from i3ad_jax.config import PRESETS, default_config
from i3ad_jax.data.reading import DEFAULT_READING, ReadingSettings
from i3ad_jax.runtime.memory import device_memory
from i3ad_jax.runtime.progress import with_progress

METHOD = "i3ad"  # the default of `train`: other methods see the same and take less time


@dataclass(frozen=True, eq=False)
class Inspection:
    """Result of the check of a data set.

    Attributes:
        root: of the data set.
        records: its images.
        findings: of all checks, errors first.
        presets: by name, what a training of I3AD would choose and cost; empty where there are too
            few images.
        device_memory: bytes that a process may take on a GPU; None for a CPU.
    """

    root: Path
    records: Records
    findings: tuple[Finding, ...]
    presets: dict[str, tuple[Choices, Cost]]
    device_memory: int | None = None

    @property
    def folder(self) -> Path:
        """Folder that the paths of images and findings are relative to."""
        return self.root if self.root.is_dir() else self.root.parent

    @property
    def spoils_results(self) -> bool:
        """True if any finding is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images by split and class."""
        return {
            part: dict(
                Counter(record.defect for record in self.records.images if record.part == part)
            )
            for part in ("train", "test")
        }

    def figures(self) -> dict[str, Any]:
        """Sizes, modes, proportions and exposure of the images that could be read; JSON values."""
        images = self.records.readable()
        if not images:
            return {}
        sizes = np.array([pixels.size for _, pixels in images])
        ratios = sizes[:, 1] / sizes[:, 0]
        normal = [np.log(max(p.intensity, 1 / 255)) for record, p in images if record.normal]
        return {
            "heights": _range(sizes[:, 0]),
            "widths": _range(sizes[:, 1]),
            "width_over_height": _range(ratios),
            "sizes": len(np.unique(sizes, axis=0)),
            "modes": dict(Counter(pixels.mode for _, pixels in images).most_common()),
            "mean_intensity": float(np.mean([pixels.intensity for _, pixels in images])),
            "spread_of_log_intensity_of_normal_images": float(np.std(normal)) if normal else None,
            "masks": sum(len(record.masks) for record in self.records.images),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the content of `check.json`."""
        return {
            "data": str(self.root),
            "counts": self.counts(),
            "figures": self.figures(),
            "not_used": self.records.left_out.describe(),
            "device_memory": self.device_memory,
            "findings": [finding.to_json() for finding in self.findings],
            "presets": {
                name: {
                    "view": choices.config.preprocessing.view,
                    "generator": choices.config.training.generator,
                    "working_size": list(choices.sizes.working),
                    "seen": list(choices.sizes.seen),
                    "side": choices.sizes.side,
                    "levels": choices.sizes.levels,
                    **choices.reasons,
                    "steps": cost.steps,
                    "operations_of_a_step": cost.operations,
                    "estimated_seconds": cost.seconds,
                    "estimated_seconds_on_h100": cost.seconds_on_gpu,
                    "estimated_bytes": cost.bytes_at_peak,
                }
                for name, (choices, cost) in self.presets.items()
            },
        }


def inspect_data(
    root: Path, *, reading: ReadingSettings = DEFAULT_READING, progress: bool = False
) -> Inspection:
    """Read a data set on disk, run all checks, and estimate a training's choices and cost.

    Args:
        root: a folder, or the file of a manifest.
        reading: options to read its files.
        progress: show a progress bar.

    Raises:
        InputError: as for `read_records`.
    """
    records = read_records(root, reading=reading, progress=progress)
    checks = with_progress(CHECKS, "checking", unit="check", leave=False, disable=not progress)
    findings = [finding for check in checks for finding in check(records)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    train = records.readable("train")
    presets = {}
    if len(train) >= 2:
        rate, images = matrix_product_rate(), Images(len(train), len(records.readable("test")))
        for name in with_progress(
            PRESETS, "estimating", unit="preset", leave=False, disable=not progress
        ):
            choices = predict_choices(default_config(METHOD, preset=name), train)
            presets[name] = choices, estimate(choices, images, rate=rate)
    return Inspection(root, records, tuple(findings), presets, device_memory())


def _range(values: np.ndarray) -> dict[str, float]:
    least, median, most = np.quantile(values, [0, 0.5, 1]).tolist()
    return {"least": least, "median": median, "most": most}

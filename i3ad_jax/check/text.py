"""An inspection in lines for the terminal; the page has the same sentences."""

from collections import defaultdict
from typing import Any

from i3ad_jax.check.findings import SEVERITIES, Finding, Severity
from i3ad_jax.check.inspection import Inspection

SHOWN = 3  # findings of a kind: check.json has all


def by_kind(findings: tuple[Finding, ...], severity: Severity) -> dict[str, list[Finding]]:
    """The findings of one severity by their kind, in the order of the checks."""
    groups = defaultdict(list)
    for finding in findings:
        if finding.severity == severity:
            groups[finding.kind].append(finding)
    return dict(groups)


def facts(inspection: Inspection) -> dict[str, str]:
    """Properties of the images, each in a few words, by name."""
    found = {}
    for part, classes in inspection.counts().items():
        listed = ", ".join(f"{count} {defect}" for defect, count in sorted(classes.items()))
        found[f"{part} images"] = f"{sum(classes.values())} ({listed})" if classes else "none"
    figures = inspection.figures()
    if figures:
        widths, heights = figures["widths"], figures["heights"]
        found["masks"] = str(figures["masks"])
        found["width x height"] = (
            f"{_pixels(widths)} x {_pixels(heights)} pixels, {figures['sizes']} size(s)"
        )
        found["width over height"] = _span(figures["width_over_height"], "{:.2f}")
        found["modes"] = ", ".join(f"{mode} {count}" for mode, count in figures["modes"].items())
        if (spread := figures["spread_of_log_intensity_of_normal_images"]) is not None:
            found["exposure"] = (
                f"mean intensity {figures['mean_intensity']:.2f} of 1; standard deviation of its"
                f" logarithm over normal images {spread:.3f}"
            )
    if (note := inspection.records.left_out.describe()) is not None:
        found["not used"] = note.removeprefix("not used: ")
    if inspection.device_memory is not None:
        found["GPU memory"] = f"{inspection.device_memory / 2**30:.1f} GiB for a process"
    return found | _choices(inspection)


def lines(inspection: Inspection) -> list[str]:
    """The whole inspection, without colours."""
    found = [f"{inspection.root}", ""]
    found += [f"{name + ':':20}{text}" for name, text in facts(inspection).items()]
    if inspection.presets:
        found += [
            "",
            "estimates for i3ad by --preset: training, calibration and test, with the machine as"
            " busy as now:",
        ]
        for name, row in costs(inspection).items():
            found.append(f"  {name:10}{', '.join(row[key] for key in ('steps', 'time', 'memory'))}")
            found += [f"    {seen}" for seen in row["images"].split("; ")]
    for severity in SEVERITIES:
        for kind, group in by_kind(inspection.findings, severity).items():
            found += ["", f"{severity}: {kind} ({len(group)})"]
            found += [f"  {finding.message}" for finding in group[:SHOWN]]
            if len(group) > SHOWN:
                found.append(f"  and {len(group) - SHOWN} more")
    return [*found, "", verdict(inspection)]


def costs(inspection: Inspection) -> dict[str, dict[str, str]]:
    """Network inputs, steps, time and memory by preset, in words."""
    table = {}
    for name, (choices, cost) in inspection.presets.items():
        table[name] = {
            "images": "; ".join(choices.sizes.describe(choices.config.preprocessing.view)),
            "steps": f"{cost.steps:,} steps",
            "time": cost.duration,
            "memory": f"about {cost.bytes_at_peak / 2**30:.1f} GiB of memory",
        }
    return table


def verdict(inspection: Inspection) -> str:
    """One sentence on whether to train on this."""
    counts = {s: sum(f.severity == s for f in inspection.findings) for s in SEVERITIES}
    listed = ", ".join(f"{count} {severity}(s)" for severity, count in counts.items())
    if inspection.spoils_results:
        return f"{listed}: the errors would stop a training or spoil its results"
    return f"{listed}: nothing that would stop a training or spoil its results"


def _choices(inspection: Inspection) -> dict[str, str]:
    """Measurements of a training on these images, in words."""
    if not inspection.presets:
        return {}
    choices, _ = inspection.presets["standard"]
    reasons, spread = choices.reasons, choices.reasons["spread_of_grain"]
    view = {"whole": "--view whole", "tiles": "--view tiles"}[choices.config.preprocessing.view]
    return {
        "alignment": (
            f"the mean image explains {max(reasons['explained_by_mean_image'], 0):.0%} of how"
            f" unseen normal images vary, {max(reasons['detail_explained_by_mean_image'], 0):.0%}"
            f" of their detail: {view}, --centre {reasons['centre']}"
        ),
        "levelling": (
            f"--levelling {'yes' if reasons['level'] else 'no'}: the grain of normal images varies"
            f" by {spread['levelled']:.2f} with it, {spread['as_they_are']:.2f} without"
        ),
    }


def _pixels(values: dict[str, Any]) -> str:
    return _span(values, "{:.0f}")


def _span(values: dict[str, Any], form: str) -> str:
    least, most = form.format(values["least"]), form.format(values["most"])
    return least if least == most else f"{least} to {most}"

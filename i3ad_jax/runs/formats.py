"""Versions of the run folder's format, and how older ones are read.

- 0: until version 0.1. No `run.json`; `config.json` holds the view and the generator that were
  chosen, and `preprocessing.json` what networks see.
- 1: `run.json` holds the format; `config.json` the settings asked for, and `plan.json` every
  choice.
- 2: from version 0.3. `config.json` says how files are read (`data.reading`).
- 3: from version 0.4. `calibration.json` has the parts of the combined score (`fusion`), and
  `plan.json` the sizes at which the segmentation network sees images (`levels`). That of earlier
  runs saw other inputs: a run with one cannot be used.
"""

from pathlib import Path
from typing import Any

from i3ad_jax.config import Config
from i3ad_jax.data.reading import DEFAULT_READING
from i3ad_jax.errors import InputError
from i3ad_jax.methods.segmentation_head import SegmenterSettings

FORMAT = 3
SEGMENTS_LEVELS = 3  # the first format with the present segmentation network
PREPROCESSING = "preprocessing.json"  # of format 0
_ADDED_TO_SEGMENTER = {
    name: SegmenterSettings().to_json()[name] for name in ("segmenter_side", "segmenter_levels")
}


def newest_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what `config.json` of this format holds, from that of any format."""
    match settings:
        case {"data": {"layout": layout, **data}} if "reading" not in data:
            reading = {**DEFAULT_READING.to_json(), "layout": layout}
            settings = {**settings, "data": {**data, "reading": reading}}
    match settings:
        case {"training": {"segmenter": {"segmenter_width": _, **own}, **training}} if (
            not own.keys() & _ADDED_TO_SEGMENTER.keys()
        ):
            segmenter = {**settings["training"]["segmenter"], **_ADDED_TO_SEGMENTER}
            settings = {**settings, "training": {**training, "segmenter": segmenter}}
    return settings


def check_segmenter(run: Path, version: int, config: Config[Any, Any]) -> None:
    """Raise InputError if the segmentation network of a run is not the present one.

    Args:
        run: the folder, for the message.
        version: its format.
        config: its settings.
    """
    if version < SEGMENTS_LEVELS and config.detail() is not None:
        raise InputError(
            f"{run}: trained by version 0.3 or earlier with another segmentation network; train it"
            " again, or use version 0.3"
        )


def plan_of_format_0(preprocessing: dict[str, Any], config: Config[Any, Any]) -> dict[str, Any]:
    """Return what `plan.json` of format 1 holds, from a run of format 0.

    Args:
        preprocessing: content of its `preprocessing.json`.
        config: its settings.
    """
    settings = config.flat()
    values = {name: settings[name] for name in ("view", "generator") if name in settings}
    values["levelling"] = "no" if preprocessing.get("mean_intensity") is None else "yes"
    values["centre"] = preprocessing.get("centre")
    choices = {name: {"value": x, "reason": "stored by version 0.1"} for name, x in values.items()}
    return {"choices": choices, "preprocessing": preprocessing}

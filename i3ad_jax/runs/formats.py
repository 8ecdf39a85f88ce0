"""Versions of the run folder's format, and how older ones are read.

- 0: until version 0.1. No `run.json`; `config.json` holds the view and the generator that were
  chosen, and `preprocessing.json` what networks see.
- 1: `run.json` holds the format; `config.json` the settings asked for, and `plan.json` every
  choice.
- 2: from version 0.3. `config.json` says how files are read (`data.reading`).
- 3: from version 0.4. `calibration.json` has the parts of the combined score (`fusion`).
"""

from typing import Any

from i3ad_jax.config import Config
from i3ad_jax.data.reading import DEFAULT_READING

FORMAT = 3
PREPROCESSING = "preprocessing.json"  # of format 0


def settings_of_format_1(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what `config.json` of format 2 holds, from that of any format."""
    match settings:
        case {"data": {"layout": layout, **data}} if "reading" not in data:
            reading = {**DEFAULT_READING.to_json(), "layout": layout}
            return {**settings, "data": {**data, "reading": reading}}
    return settings


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

"""The record of the machine and the versions."""

import json
import os
from datetime import datetime, timedelta
from importlib import metadata

import jax

import i3ad_jax
from i3ad_jax.runs.environment import environment


def test_record_is_json_of_this_machine() -> None:
    found = environment(command=["i3ad", "train"])
    assert json.loads(json.dumps(found)) == found
    age = datetime.now().astimezone() - datetime.fromisoformat(found["started"])
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert found["command"] == ["i3ad", "train"]
    assert found["processors"] == os.cpu_count()
    assert len(found["devices"]) == len(jax.devices())
    assert found["deterministic"] is True  # of a CPU
    assert found["packages"]["i3ad_jax"] == i3ad_jax.__version__
    assert found["packages"]["numpy"] == metadata.version("numpy")
    assert found["git_commit"] is None or len(found["git_commit"].removesuffix("-dirty")) == 40


def test_without_a_command_none_is_recorded() -> None:
    assert "command" not in environment()

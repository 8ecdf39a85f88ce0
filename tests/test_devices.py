"""`python -m i3ad_jax.devices`."""

import re

import jax
import pytest

import i3ad_jax
from i3ad_jax.devices import __main__ as devices
from tests.conftest import Fails


def test_versions_and_devices_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    devices.main([])
    lines = capsys.readouterr().out.splitlines()
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in lines)
    assert rows["devices"] == f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    assert rows["i3ad_jax"] == i3ad_jax.__version__
    assert len({line.index(value) for line, value in zip(lines, rows.values(), strict=True)}) == 1


def test_options_are_refused(fails: Fails) -> None:
    assert "--fast" in fails(devices.main, ["--fast"])

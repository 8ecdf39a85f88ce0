"""`python -m i3ad_jax.devices`."""

import jax
import pytest

import i3ad_jax
from i3ad_jax.devices import __main__ as devices
from tests.conftest import Fails


def test_versions_and_devices_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    devices.main([])
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["devices"] == str([device.device_kind for device in jax.devices()])
    assert f"'i3ad_jax': '{i3ad_jax.__version__}'" in lines["packages"]


def test_options_are_refused(fails: Fails) -> None:
    assert "--fast" in fails(devices.main, ["--fast"])

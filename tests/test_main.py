"""`i3ad`: all commands under one name."""

import re
import signal
import subprocess
import sys
from importlib import import_module

import pytest

import i3ad_jax
from i3ad_jax import __main__, command_line
from tests.conftest import Fails


def test_every_command_is_a_module_of_that_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "set_up_jax", lambda: None)
    for name in __main__.COMMANDS:
        assert f"python -m i3ad_jax.{name}" == import_module(f"i3ad_jax.{name}.__main__").PROGRAM
        monkeypatch.setattr(sys, "argv", ["i3ad", name, "--help"])
        with pytest.raises(SystemExit) as stop:
            __main__.main()
        assert stop.value.code == 0
        assert f"usage: i3ad {name}" in capsys.readouterr().out


def test_help_and_version_import_no_jax() -> None:
    show = "import sys; from i3ad_jax.__main__ import main; main(); assert 'jax' not in sys.modules"
    for option, expected in (("--version", i3ad_jax.__version__), ("--help", "predict")):
        done = subprocess.run(
            [sys.executable, "-c", show, option], capture_output=True, text=True, check=True
        )
        assert expected in done.stdout


def test_ctrl_c_while_packages_are_imported_is_no_traceback() -> None:
    program = (
        "import os, signal, sys\n"
        # in the background it is ignored
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "  def find_spec(self, name, *_):\n"
        "    if name == 'i3ad_jax.command_line': os.kill(os.getpid(), signal.SIGINT)\n"
        "from i3ad_jax.__main__ import main\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "devices"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


@pytest.mark.slow
def test_what_testing_a_run_needs_is_imported_and_no_more() -> None:
    slow = (
        "import sys, i3ad_jax.predict; "
        "print(*{'sklearn', 'scipy.stats', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", slow], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_an_unknown_command_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["i3ad", "predicd"])
    with pytest.raises(SystemExit) as stop:
        __main__.main()
    assert stop.value.code == 2
    expected = r"error: predicd: no such command; one of .*; did you mean predict\?\n"
    assert re.fullmatch(expected, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("started", "called"),
    [
        ("/home/user/bin/i3ad", "i3ad devices"),
        ("/package/i3ad_jax/__main__.py", "python -m i3ad_jax devices"),
    ],
)
def test_commands_are_named_as_the_user_called_them(
    started: str,
    called: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command_line, "set_up_jax", lambda: None)
    monkeypatch.setattr(sys, "argv", [started, "devices", "--help"])
    with pytest.raises(SystemExit):
        __main__.main()
    assert f"usage: {called} [-h]" in capsys.readouterr().out
    text = "python -m i3ad_jax.devices shows versions"
    assert command_line.as_called(text) == f"{called} shows versions"
    monkeypatch.setattr(sys, "argv", ["/package/i3ad_jax/devices/__main__.py"])
    assert command_line.as_called(text) == text


def test_errors_of_a_command_are_its_own(monkeypatch: pytest.MonkeyPatch, fails: Fails) -> None:
    def main(_: object) -> None:
        monkeypatch.setattr(sys, "argv", ["i3ad", "predict", "nowhere", "a.png", "--out", "out"])
        __main__.main()

    message = fails(main, [])
    assert "nowhere: not a run" in message
    assert "i3ad predict RUN IMAGES --out OUT" in message

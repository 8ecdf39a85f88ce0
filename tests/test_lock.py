"""Agreement of the packages that .ci/run installs with setup.cfg and pyproject.toml."""

import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def asked_for() -> Iterator[Requirement]:
    """Requirements of the package, of the tools that .ci/run installs, and of the build."""
    extras = dict(SETUP["options.extras_require"])
    texts, waiting = [SETUP["options"]["install_requires"]], {"test", "dev", "docs"}
    while waiting:
        texts.append(extras.pop(waiting.pop()))
        waiting |= {
            name
            for found in re.findall(r"i3ad_jax\[(.*)\]", texts[-1])
            for name in found.split(",")
        }
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for line in "\n".join(texts).splitlines() + build:
        if line and not line.startswith(("#", "i3ad_jax")):
            yield Requirement(line)


def locked(python: str) -> dict[str, str]:
    """The version of each package that the lock has for a Python."""
    lines = (ROOT / ".ci/requirements.txt").read_text().splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"\w", line)]
    mine = [
        pin
        for pin in pins
        if pin.marker is None or pin.marker.evaluate({"python_full_version": python})
    ]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in mine}


@pytest.mark.parametrize("python", ["3.11.7", "3.12.1", "3.13.0"])
def test_the_lock_satisfies_what_is_asked_for(python: str) -> None:
    versions = locked(python)
    wanted = asked_for()
    assert {each.name for each in wanted} >= {
        "jax",
        "pyarrow",
        "pytest",
        "ruff",
        "mkdocs",
        "setuptools",
    }
    for each in wanted:
        assert each.specifier.contains(versions[canonicalize_name(each.name)]), each


def test_every_package_in_the_lock_has_a_hash() -> None:
    text = (ROOT / ".ci/requirements.txt").read_text()
    for pin in re.split(r"\n(?=\w)", text)[1:]:
        assert "--hash=sha256:" in pin, pin

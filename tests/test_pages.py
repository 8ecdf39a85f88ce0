"""Pages of the service as text; what their scripts do is in `test_browser.py`."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax.detector import Detector
from i3ad_jax.serve import pages
from tests.support.html_page import Page
from tests.support.service import LIMITS, ask, png, serving

TOKEN = "s3cret"


@pytest.fixture(scope="module")
def port(pca_run: Path) -> Iterator[int]:
    with serving(Detector.load(pca_run), LIMITS, token=TOKEN) as port:
        yield port


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere(port: int, path: str) -> None:
    status, content = ask(port, "GET", path)
    assert status == 200
    page = Page(content.decode())
    assert (page.misnested, page.open) == ([], [])
    assert page.attributes("src") == []
    assert {*page.attributes("href")} <= {"/", "/docs", "/openapi.json"}
    without_examples = re.sub(rb"<pre.*?</pre>", b"", content, flags=re.DOTALL)
    assert not re.search(rb"//[a-z]+\.|@import|url\(", without_examples)


def test_documentation_has_every_operation_option_and_answer(port: int) -> None:
    page = Page(ask(port, "GET", "/docs")[1].decode())
    schema = ask(port, "GET", "/openapi.json")[1]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path}" in page.lines
            for parameter in operation.get("parameters", ()):
                assert parameter["name"] in page.texts
            assert operation["responses"].keys() <= {*page.texts}
    for name, model in schema["components"]["schemas"].items():
        assert {name, *model["properties"]} <= {*page.texts}


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_examples_of_the_documentation_run(port: int, tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "b.png")):
        (tmp_path / name).write_bytes(png(seed))
    text = ask(port, "GET", "/docs")[1].decode()
    commands = [html.unescape(each) for each in re.findall(r"<pre[^>]*>(.*?)</pre>", text)]
    assert len(commands) == 6
    printed = {
        command: subprocess.run(
            ["sh", "-c", command.replace("curl", "curl --fail --silent")],
            cwd=tmp_path,
            env={**os.environ, "I3AD_TOKEN": TOKEN},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for command in commands
    }
    images = [
        len(json.loads(found)["images"])
        for command, found in printed.items()
        if "/score" in command and "heatmap" not in command
    ]
    assert images == [1, 2, 1]
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_an_address_in_the_documentation_is_escaped(port: int) -> None:
    content = ask(port, "GET", "/docs", Host="<script>alert(1)</script>")[1]
    assert b"<script" not in content


TEMPLATES = Path(pages.__file__).parent / "templates"
INKS = {"ink", "soft", "accent", "normal", "anomalous", "unusable"}
GROUNDS = {"page", "card"}


def luminance(colour: str) -> float:
    """Relative luminance of a colour of three or six hexadecimal digits, as WCAG 2.2 defines it."""
    digits = colour.removeprefix("#")
    pairs = [2 * digit for digit in digits] if len(digits) == 3 else re.findall("..", digits)
    channels = [int(pair, 16) / 255 for pair in pairs]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#fff", "#000") == pytest.approx(21)
    assert contrast("#777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_contrast_with_every_ground(scheme: str) -> None:
    style = (TEMPLATES / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", "".join(blocks[: 1 + (scheme == "dark")])))
    assert (luminance(colours["card"]) < 0.1) == (scheme == "dark")
    for ink, ground in [*product(INKS, GROUNDS), ("on-accent", "accent")]:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def test_texts_have_no_other_colours() -> None:
    text = "".join(file.read_text() for file in TEMPLATES.iterdir())
    inks = re.findall(r"[\s;{]color: ([^;]+)", text)
    assert {*inks} == {*(f"var(--{name})" for name in INKS), "var(--on-accent)"}
    assert "style=" not in text

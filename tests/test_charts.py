"""Charts of the report as SVG."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from i3ad_jax.report.charts import roc_chart, training_chart

STEPS = np.arange(1.0, 6.0)


def charts() -> list[str]:
    """Return a chart of each kind."""
    curves = {
        f"score_{i}": (np.array([0.0, 0.2, 1.0]), np.array([0.0, 0.9, 1.0])) for i in range(7)
    }
    return [
        roc_chart(curves, title="ROC & more"),
        training_chart(STEPS, np.array([1.0, 2.0, np.nan, 1.0, 0.5]), title="generator_loss"),
    ]


@pytest.mark.parametrize("svg", charts(), ids=["roc", "training"])
def test_colours_are_the_page_s_and_ids_are_unique(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len({*ids})
    assert {*re.findall(r"#[0-9a-f]{6}\b", svg)} == set()
    assert "var(--ink)" in svg


def test_titles_and_names_are_text() -> None:
    roc, training = ("".join(ElementTree.fromstring(svg).itertext()) for svg in charts())
    assert "ROC & more" in roc
    assert all(f"score_{i}" in roc for i in range(7))
    assert "generator_loss" in training


def test_charts_of_one_page_share_no_id() -> None:
    found = [{*re.findall(r'id="([^"]*)"', training_chart(STEPS, STEPS, title=x))} for x in "ab"]
    assert not found[0] & found[1]


def test_values_that_are_logged_at_some_steps_alone_are_joined_and_marked() -> None:
    every_other = np.array([1.0, np.nan, 3.0, np.nan, 2.0])
    gaps, plain = (
        ElementTree.fromstring(training_chart(x, y, title="l1"))
        for x, y in ((STEPS, every_other), (STEPS[::2], every_other[::2]))
    )
    assert [*gaps.itertext()] == [*plain.itertext()]
    paths = [
        [element.get("d") for element in svg.iter() if element.tag.endswith("path")]
        for svg in (gaps, plain)
    ]
    assert paths[0] == paths[1]
    assert sum(element.tag.endswith("use") for element in gaps.iter()) >= 3

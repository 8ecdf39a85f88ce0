"""The report as a browser and its reader meet it: parsed, decoded, hostile names included."""

import base64
import io
import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.reporting.report import Case, choose_cases, write_report

HOSTILE = """test/<script>alert('1')</script> & "quoted".png"""
VOID = {"meta", "input", "img", "br", "link"}


class Page(HTMLParser):
    """Every element's attributes, every text, and whether all elements were closed in order."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.open, self.misnested = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.misnested.append(tag)

    def handle_data(self, data):
        self.texts.append(data.strip())

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def pictures(self):
        styles = [re.findall(r"url\((.*?)\)", style or "") for style in self.attributes("style")]
        return self.attributes("src") + [uri for uris in styles for uri in uris]


def make_case(index=0, *, size=16, states=4, **changes):
    rng = np.random.default_rng(index)
    shape = (size, size)
    masks = rng.random((states, *shape)) < 0.3
    masks[0] = True
    values = {
        "path": f"test/hole/{index}.png",
        "defect": "hole",
        "label": 1,
        "group": "Anomalous",
        "scores": {"l2": 0.1, "ssim": 0.2},
        "image": rng.integers(0, 256, (*shape, 3), np.uint8),
        "truth": rng.random(shape) < 0.2,
        "anomaly_map": rng.random(shape, np.float32),
        "reconstructions": rng.integers(0, 256, (states, *shape, 3), np.uint8),
        "masks": masks,
    }
    return Case(**{**values, **changes})


def make_results(value: float | None = 0.875):
    metrics = {"image_auroc": value, "pixel_auroc": value, "pixel_aupro": value}
    scores = {kind: {**metrics, "per_defect": {"hole": metrics}} for kind in ("l2", "ssim")}
    return {
        "method": "i3ad",
        "data": "textures:weave",
        "num_test_normal": 3,
        "num_test_anomalous": 3,
        "iterations": 3,
        "u": 0.2,
        "u_reason": "the smallest that passes",
        "scores": scores,
        "thresholds": {"l2": 0.05, "ssim": 0.5},
        "seconds_per_image": 0.02,
    }


LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORES = {kind: np.random.default_rng(0).normal(size=6) for kind in ("l2", "ssim")}
TRAINING = [{"step": step, "generator_loss": 1.0 / step, "steps_per_second": 2.0} for step in (1, 2, 3)]


def write(path, **changes):
    """The text of a report; without charts, which take most of the time, unless asked for."""
    values = {
        "results": make_results(),
        "config": {"seed": 7, "data": {"image_size": 64}},
        "environment": {"jax": "1.2.3"},
        "training": [],
        "labels": LABELS,
        "scores": {},
        "states": ["checkerboard pass", *(f"iteration {i}" for i in range(1, 5))],
        "cases": [make_case(index) for index in range(3)],
    }
    write_report(path, **{**values, **changes})
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return write(tmp_path_factory.mktemp("run") / "report.html", scores=SCORES, training=TRAINING)


def test_elements_are_nested_properly_and_ids_are_unique(html):
    page = Page(html)
    assert page.open == []
    assert page.misnested == []
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded_from_outside_the_file(html):
    page = Page(html)
    assert all(picture.startswith("data:image/") for picture in page.pictures())
    links = page.attributes("href") + page.attributes("xlink:href")
    assert all(link.startswith("#") for link in links)
    assert set(re.findall(r"https?://[^\"'\s]*", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_all_embedded_pictures_decode_to_the_size_their_layout_needs(tmp_path):
    pictures = Page(write(tmp_path / "report.html", cases=[make_case(size=16, states=4)])).pictures()
    sizes = []
    for picture in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1], validate=True)))
        image.load()
        sizes.append(image.size)
    assert sizes == [(16, 16), (16, 16), (16, 64), (16, 64)]


def test_each_case_has_a_slider_over_its_states_and_one_moves_all(tmp_path):
    cases = [make_case(0, states=4), make_case(1, states=2), make_case(2, states=1)]
    page = Page(write(tmp_path / "report.html", cases=cases))
    sliders = [attributes["max"] for _, attributes in page.elements if attributes.get("type") == "range"]
    assert sliders == ["3", "3", "1", "0"]
    names = [a["aria-label"] for _, a in page.elements if a.get("type") == "range"]
    assert len(set(names)) == len(names)


def test_mask_areas_are_percentages_of_each_state(tmp_path):
    masks = np.zeros((3, 10, 10), bool)
    masks[0] = True
    masks[1, :2] = True
    case = make_case(size=10, states=3, masks=masks)
    page = Page(write(tmp_path / "report.html", cases=[case]))
    assert page.attributes("data-areas") == ["100.0 20.0 0.0"]


def test_names_from_data_are_escaped(tmp_path):
    results = make_results()
    results["data"] = HOSTILE
    results["scores"]["l2"]["per_defect"] = {HOSTILE: results["scores"]["l2"]["per_defect"]["hole"]}
    results["scores"]["ssim"]["per_defect"] = results["scores"]["l2"]["per_defect"]
    case = make_case(path=HOSTILE, defect=HOSTILE, group=HOSTILE)
    html = write(tmp_path / "report.html", results=results, cases=[case], config={HOSTILE: HOSTILE})
    page = Page(html)
    assert "<script>alert" not in html
    assert [tag for tag, _ in page.elements].count("script") == 1
    # Title, heading, class in the table, group, path, class of the case, setting and its value.
    assert page.texts.count(HOSTILE) == 7
    assert f"Iteration of {HOSTILE}" in page.attributes("aria-label")


def test_a_file_name_that_is_not_unicode_does_not_stop_the_report(tmp_path):
    html = write(tmp_path / "report.html", cases=[make_case(path="test/\udcff.png")])
    assert r"test/\udcff.png" in html


def test_missing_metrics_show_a_dash_and_the_reason(tmp_path):
    one_class = {"results": make_results(None), "labels": np.ones(6, int), "scores": SCORES}
    page = Page(write(tmp_path / "report.html", **one_class))
    # Two kinds of score, overall and for one class.
    assert page.texts.count("no masks") == 8
    assert page.texts.count("one class only") == 4
    assert "None" not in page.texts


def test_numbers_of_the_run_are_on_the_page(html):
    texts = Page(html).texts
    assert texts.count("0.875") == 12
    for text in (
        "textures:weave",
        "3 normal, 3 anomalous",
        "the smallest that passes",
        "data.image_size",
        "1.2.3",
    ):
        assert text in texts


def test_verdict_compares_each_score_with_its_threshold(tmp_path):
    page = Page(write(tmp_path / "report.html", cases=[make_case(scores={"l2": 0.1, "ssim": 0.2})]))
    assert [" ".join(text.split()) for text in page.texts if "above" in text] == [
        "flagged: above 0.05",
        "passed: not above 0.5",
    ]


def test_every_column_of_floats_but_the_speed_has_a_training_chart(tmp_path):
    training = [{"step": 1, "a_loss": 1.0, "steps_per_second": 3.0}, {"step": 2, "b_loss": 2.0}]
    labels = Page(write(tmp_path / "report.html", training=training)).attributes("aria-label")
    charts = [label for label in labels if label and label.startswith("Chart: ") and "scores" not in label]
    assert charts == ["Chart: a loss", "Chart: b loss"]


def test_a_run_without_cases_training_log_thresholds_has_a_report(tmp_path):
    results = make_results()
    del results["thresholds"], results["u_reason"]
    page = Page(write(tmp_path / "report.html", results=results, scores=SCORES, cases=[], training=[]))
    assert "Nothing was logged." in page.texts
    assert not page.pictures()


def test_an_error_while_rendering_leaves_the_old_report_alone(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(KeyError):
        write(path, training=[{"generator_loss": 1.0}])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_run_gives_the_same_file(tmp_path, html):
    assert write(tmp_path / "again.html", scores=SCORES, training=TRAINING) == html


@pytest.mark.parametrize(("size", "megabytes"), [(64, 3), (256, 25)])
def test_twelve_cases_of_a_whole_run_stay_small(tmp_path, size, megabytes):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    weave = 120 + 60 * np.sin(y / 2) * np.sin(x / 3)
    image = np.clip(weave[..., None] + rng.normal(0, 8, (size, size, 3)), 0, 255).astype(np.uint8)
    # The worst case: a quarter of the image changes in every state and never settles.
    states = np.repeat(image[None], 31, axis=0)
    half = size // 2
    states[:, :half, :half] = rng.permuted(states[:, :half, :half], axis=1)
    masks = rng.random((31, size, size)) < 0.2
    case = make_case(size=size, image=image, reconstructions=states, masks=masks)
    frame = len(write(tmp_path / "frame.html", cases=[]))
    one_case = len(write(tmp_path / "case.html", cases=[case])) - frame
    assert frame + 12 * one_case < megabytes * 1e6


def test_cases_are_the_extremes_of_both_classes():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.15, 0.5, 0.6, 0.7])
    cases = choose_cases(labels, scores, count=4)
    assert [index for index, _ in cases] == [4, 3, 7, 0]
    assert len({group for _, group in cases}) == 4


@pytest.mark.parametrize("count", [0, 1, 3, 7, 12, 100])
@pytest.mark.parametrize("num_normal", [0, 2, 9])
def test_cases_are_distinct_and_as_many_as_there_are(count, num_normal):
    labels = np.repeat([0, 1], [num_normal, 5])
    scores = np.random.default_rng(0).integers(0, 3, len(labels)).astype(float)
    cases = choose_cases(labels, scores, count=count)
    indices = [index for index, _ in cases]
    assert len(indices) == len(set(indices)) == min(count, len(labels))
    assert all(group.startswith("Anomalous" if labels[index] else "Normal") for index, group in cases)


def test_cases_of_one_group_are_neighbours():
    labels = np.repeat([0, 1], 6)
    groups = [group for _, group in choose_cases(labels, np.arange(12.0), count=10)]
    changes = sum(before != after for before, after in itertools.pairwise(groups))
    assert changes == len(set(groups)) - 1

"""The report as a browser and its reader meet it: parsed, decoded, hostile names included."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from i3ad_jax.report.distribution import distribution
from tests.support.html_page import Page
from tests.support.report_parts import enlarged, make_case, make_page, make_pictures
from tests.support.run_results import DEFECTS, KINDS, LABELS, make_run

HOSTILE = """test/</script><script>alert('1')</script> & "quoted" {{ 7 * 6 }} <!--.png"""
TRAINING = [
    {"step": step, "generator_loss": 1.0 / step, "steps_per_second": 2.0} for step in (1, 2, 3)
]


@pytest.fixture(scope="module")
def html() -> str:
    return make_page(training=TRAINING, small=make_pictures(len(LABELS)))


def test_page_is_sound(html: str) -> None:
    page = Page(html)
    page.check()
    page.check_prose()


def test_nothing_is_loaded_from_outside_the_file(html: str) -> None:
    page = Page(html)
    links = page.links() + page.attributes("xlink:href")
    assert all(link.startswith("#") for link in links)
    assert set(re.findall(r"https?://[^\"'\s]*", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.findall(r"\bfetch\(|XMLHttpRequest|import\(|@import", html)


def test_verdict_comes_before_cases_before_tables_before_settings(html: str) -> None:
    places = [
        html.index(f'id="{name}"')
        for name in ("verdict", "cases", "threshold", "images", "settings")
    ]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "threshold", [-10.0, 1.0, 10.0, *(pytest.param(x, marks=pytest.mark.slow) for x in (0.3, 1.7))]
)
def test_verdict_counts_what_numpy_counts(threshold: float) -> None:
    run = make_run(results={"thresholds": dict.fromkeys(KINDS, threshold)})
    above = run.scores["combined"] > threshold
    false_alarms, missed = int((above & (LABELS == 0)).sum()), int((~above & (LABELS == 1)).sum())
    html = make_page(run)
    verdict = " ".join(Page(html).lines).split("What to look at")[0]
    for count, total, words in (
        (missed, 5, "anomalous images missed"),
        (false_alarms, 4, "normal images flagged: false alarms"),
    ):
        assert f"{count} of {total} {words}" in verdict
        low, high = binomtest(count, total).proportion_ci(0.95, method="exact")
        assert f"95 % interval {100 * low:.1f} to {100 * high:.1f} %" in verdict
    for name, total in (("good", 4), ("hole", 3), ("scratch", 2)):
        own = np.array(DEFECTS) == name
        assert f"{name} {(own & (above != (LABELS == 1))).sum()} of {total}" in verdict
    for name, count in (
        ("found", 5 - missed),
        ("missed", missed),
        ("false alarm", false_alarms),
        ("passed", 4 - false_alarms),
    ):
        # The panel of the selected score is the first.
        assert re.findall(rf'data-count="{name}">(\d+)<', html)[0] == str(count)
        assert len(Page(html).named("tr", **{"data-outcome": name})) == count


def test_head_says_when_and_of_how_many_images() -> None:
    environment = {"started": "2026-11-30T14:40:31+00:00"}
    run = make_run(config={"preset": "quick"}, results={"environment": environment})
    head = " ".join(Page(make_page(run)).lines).split("Verdict")[0]
    for words in (
        "Tested 2026-11-30",
        "Preset quick",
        "for training 120",
        "for calibration 30",
        "Test images 4 normal, 5 anomalous",
    ):
        assert words in head
    assert "Tested" not in " ".join(Page(make_page()).lines).split("Verdict")[0]


def test_worst_mistakes_have_thumbnails() -> None:
    scores = np.array([3.0, 0.0, 0.1, 5.0, 0.9, -2.0, 2.0, 2.0, 0.5])
    run, thumbnails = make_run(scores=dict.fromkeys(KINDS, scores)), make_pictures(9)
    html = make_page(run, small=thumbnails)
    shown = Page(html.split('id="verdict"')[1].split("<nav")[0]).attributes("src")
    expected = [(thumbnails[i].input, thumbnails[i].heat) for i in (5, 8, 4, 3, 0)]
    assert shown == [uri for pair in expected for uri in pair]


def test_what_to_look_at_is_the_worst_mistake_of_each_kind() -> None:
    scores = np.array([3.0, 0.0, 0.1, 5.0, 0.9, -2.0, 2.0, 2.0, 0.5])
    run = make_run(scores=dict.fromkeys(KINDS, scores))
    page = Page(make_page(run, cases=[make_case(5)]))
    links = [link for link in page.attributes("href") if re.match(r"#(case|image)-\d+$", link)]
    # Missed, from the lowest score; false alarms, from the highest; the one that is a case leads
    # there.
    assert links[:5] == ["#case-5", "#image-8", "#image-4", "#image-3", "#image-0"]


def test_metrics_on_the_page_are_those_of_the_results(html: str) -> None:
    run, page = make_run(), Page(html)
    for kind in KINDS:
        assert f"{run.results['scores'][kind]['image_auroc']:.3f}" in page.lines
    assert page.lines.count("0.812") == len(KINDS) * 3  # overall and for two classes
    assert sum(line.endswith(" no masks") for line in page.lines) == len(KINDS) * 3


def test_values_of_the_sliders_are_the_scores_with_all_their_digits(html: str) -> None:
    run = make_run()
    (text,) = re.findall(
        r'<script type="application/json" id="values">(.*?)</script>', html, re.DOTALL
    )
    values = json.loads(text)
    assert values["labels"] == LABELS.tolist()
    assert values["scores"] == {kind: run.scores[kind].tolist() for kind in KINDS}
    assert {*Page(html).attributes("data-threshold")} == {"1.0"}


def test_every_image_has_a_row_sorted_by_the_headline(html: str) -> None:
    run = make_run()
    rows = [int(own["data-index"] or "") for own in Page(html).named("tr") if "data-index" in own]
    assert sorted(rows) == list(range(len(LABELS)))
    assert (np.diff(run.scores["combined"][rows]) <= 0).all()


def test_row_opens_a_case_or_else_a_picture_or_else_nothing() -> None:
    page = Page(make_page(cases=[make_case(4)], small=make_pictures(6)))
    assert page.attributes("href").count("#case-4") >= 1
    assert len(page.named("button", **{"class": "open"})) == 5
    assert "those of 6 of 9 images are here" in " ".join(page.lines)


def test_embedded_pictures_decode_to_the_size_their_layout_needs() -> None:
    sizes = []
    for picture in Page(make_page(cases=[make_case(size=16, states=4)])).pictures():
        image = Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1], validate=True)))
        image.load()
        sizes.append(image.size)
    assert sizes == [(16, 16), (16, 16), (16, 64), (16, 64)]


def test_each_case_has_a_slider_over_its_states_and_one_moves_all() -> None:
    cases = [
        make_case(0, states=4),
        make_case(1, states=2),
        make_case(2, states=1),
        make_case(3, states=0),
    ]
    page = Page(make_page(cases=cases))
    page.check()
    sliders = {
        own["id"]: own["max"] for own in page.named("input", type="range") if own.get("min") == "0"
    }
    assert sliders == {"step": "3", "state-0": "3", "state-1": "1"}
    names = [own["aria-label"] for own in page.named("input", type="range") if "aria-label" in own]
    assert len({*names}) == len(names) == 3
    # The third has its reconstruction, the last has none.
    assert len(page.named("div", **{"class": "picture sprite"})) == 2 + 2 + 1


def test_mask_areas_are_percentages_of_each_state() -> None:
    masks = np.zeros((3, 10, 10), bool)
    masks[0] = True
    masks[1, :2] = True
    page = Page(make_page(cases=[make_case(size=10, states=3, masks=masks)]))
    assert page.attributes("data-areas") == ["100.0 20.0 0.0"]


def test_names_from_data_are_escaped() -> None:
    defects = (*DEFECTS[:-1], HOSTILE)
    paths = (*(f"{i}.png" for i in range(8)), HOSTILE)
    run = make_run(
        defects=defects,
        paths=paths,
        config={HOSTILE: HOSTILE},
        results={"data": HOSTILE, "learned": {"problem": HOSTILE}},
    )
    html = make_page(
        run, cases=[make_case(8, group=HOSTILE)], small=make_pictures(9), missing=[HOSTILE]
    )
    page = Page(html)
    page.check()
    assert "<script>alert" not in html
    own = [attributes for tag, attributes in page.elements if tag == "script"]
    assert own == [{"type": "application/json", "id": "values"}, *[{}] * 6]
    # Title, heading, warning, what is missing; group, path and class of the case; path and class of
    # its row, its class in the filter and in the table of classes; setting and value; perhaps among
    # the worst.
    assert sum(HOSTILE in text for text in page.texts) >= 13
    assert f"Iteration of {HOSTILE}" in page.attributes("aria-label")
    assert HOSTILE in page.attributes("data-path")


def test_a_file_name_that_is_not_unicode_does_not_stop_the_report(tmp_path: Path) -> None:
    paths = (*(f"{i}.png" for i in range(8)), "test/\udcff.png")
    html = make_page(make_run(paths=paths))
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    assert r"test/\udcff.png" in html


@pytest.mark.parametrize("label", [0, 1])
def test_images_of_one_class_alone_have_a_report(label: int) -> None:
    labels = np.full(9, label)
    defects = ("hole" if label else "good",) * 9
    page = Page(make_page(make_run(labels=labels, defects=defects)))
    page.check()
    page.check_prose()
    text = " ".join(page.lines)
    assert "No image AUROC: all test images are of one class." in text
    assert f"There are no {'normal' if label else 'anomalous'} test images." in text


def test_a_report_without_cases_curves_pictures_says_what_is_missing() -> None:
    page = Page(make_page(cases=[], missing=["pictures of the images (they are gone)"]))
    page.check()
    assert "Nothing was logged." in page.texts
    assert "pictures of the images (they are gone)" in page.texts
    assert not page.pictures()


def test_the_selected_score_is_shown_and_the_others_fold_out(html: str) -> None:
    metrics = html.split('<h2 id="scores">')[1].split("How each score is made")[0]
    closed = re.compile(r'<details class="card">.*?</details>', re.DOTALL)
    open_part, folded = closed.sub("", metrics), "".join(closed.findall(metrics))
    # Once in the table of scores, once for each class.
    assert Page(open_part).lines.count("Combined") == Page(folded).lines.count("SSIM") == 3
    assert "SSIM" not in Page(open_part).lines
    assert "Combined" not in Page(folded).lines


@pytest.mark.parametrize(
    ("threshold", "left"), [(0.5, "5.0"), (20.0, "100.0"), (-1.0, "0.0"), (None, None)]
)
def test_the_threshold_is_marked_on_the_colour_scale(
    threshold: float | None, left: str | None
) -> None:
    page = Page(make_page(make_run(results={"pixel_threshold": threshold})))
    scales = page.named("i", **{"class": "scale"})  # of the cases, and of the viewer
    marks = [own["style"] for own in page.named("b") if "style" in own]
    assert marks == ([] if left is None else [f"left: {left}%"] * 2)
    assert len(scales) == 2
    assert all("linear-gradient" in (scale["style"] or "") for scale in scales)
    text = " ".join(page.lines)
    assert ("detected region: map above" in text) == (threshold is not None)


def test_a_case_outlines_what_is_detected_or_else_is_hottest() -> None:
    heat = np.zeros((16, 16), np.float32)
    heat[2:5, 3:9], heat[10, 10] = 1.0, 0.4
    run = make_run(results={"pixel_threshold": 0.3})
    for peak, name, regions in (
        (1.0, "region", "M3 2h6M3 5h6M10 10h1M10 11h1M3 2v3M9 2v3M10 10v1M11 10v1"),
        (0.2, "hottest", "M3 2h6M3 5h6M3 2v3M9 2v3"),
    ):
        page = Page(make_page(run, cases=[make_case(anomaly_map=heat * np.float32(peak))]))
        paths = page.named("path", **{"class": name})
        assert [own["d"] for own in paths] == [regions] * 2  # on the image and on the map


def test_a_mistake_that_is_no_case_has_a_large_view_that_is_hidden() -> None:
    other = make_case(2, size=24)
    page = Page(make_page(cases=[make_case(4)], small=make_pictures(9), large={2: enlarged(other)}))
    page.check()
    page.check_prose()
    assert sorted(page.attributes("data-view")) == ["2", "4"]
    (hidden,) = [own for own in page.named("div") if "hidden" in own]
    assert page.elements[page.elements.index(("div", hidden)) + 1] == ("div", {"data-view": "2"})
    assert {*page.attributes("id")} >= {"picture-2", "picture-4", "heat-2", "heat-4"}
    assert [own["data-peak"] for own in page.named("filter") if "data-peak" in own] == [
        str(float(case.anomaly_map.max())) for case in (make_case(4), other)
    ]


@pytest.mark.parametrize(
    ("changes", "caption"),
    [
        ({}, "input, 16 x 16 pixels"),
        ({"original_size": (40, 32)}, "input, reduced from 32 x 40 to 16 x 16 pixels"),
        ({"is_original": False}, "input in the working size, 16 x 16 pixels"),
    ],
)
def test_a_large_view_says_its_size_and_the_page_if_originals_lack(
    changes: dict, caption: str
) -> None:
    case = make_case(4)
    view = replace(enlarged(case), **changes)
    page = Page(make_page(cases=[case], large={4: view}))
    assert caption in page.lines
    assert ("Not all original pictures are at hand" in " ".join(page.lines)) == (
        not view.is_original
    )


def test_a_map_without_a_positive_value_is_black() -> None:
    case = make_case(anomaly_map=np.full((16, 16), -1.0, np.float32))
    page = Page(make_page(cases=[case]))
    page.check()
    assert {*page.attributes("slope")} == {"0"}
    assert "anomaly map, maximum -1" in page.lines


def test_bars_of_the_histogram_stand_in_their_bins(html: str) -> None:
    run = make_run()
    panels = html.split('<div class="card threshold"')[1:]
    assert len(panels) == len(KINDS)
    for panel in panels:
        kind = panel[panel.index('data-score="') + 12 :].split('"')[0]
        own = distribution(LABELS, run.scores[kind], threshold=run.threshold(kind))
        assert 0 in own.normal  # an empty bin before others
        for name, counts in (("normal", own.normal), ("anomalous", own.anomalous)):
            group = panel.split(f'<g class="{name}">')[1].split("</g>")[0]
            lefts = [float(x) for x in re.findall(r'<rect x="([^"]*)"', group)]
            filled = [1000 * bin / len(counts) for bin, count in enumerate(counts) if count]
            np.testing.assert_allclose(lefts, filled, rtol=1e-4)


def test_a_network_that_learned_little_is_warned_of_at_the_head() -> None:
    problem = "the method has learned less than the mean image"
    html = make_page(make_run(results={"learned": {"problem": problem}}))
    assert html.index(problem) < html.index('id="verdict"')
    assert 'class="figure"' not in html
    assert make_page().count('class="figure"') == 2
    assert "Warning" not in " ".join(Page(make_page()).lines)


def test_every_column_of_floats_but_the_speed_has_a_training_chart() -> None:
    training = [{"step": 1, "a_loss": 1.0, "steps_per_second": 3.0}, {"step": 2, "b_loss": 2.0}]
    labels = Page(make_page(training=training)).attributes("aria-label")
    charts = [label for label in labels if label.startswith("Chart: ") and "ROC" not in label]
    assert charts == ["Chart: a loss", "Chart: b loss"]


def test_a_value_whose_name_looks_like_a_formula_has_a_chart() -> None:
    name = r"$\frac{$ <script>"
    labels = Page(make_page(training=[{"step": 1, name: 1.0}])).attributes("aria-label")
    assert f"Chart: {name}" in labels


def test_the_same_run_gives_the_same_page(html: str) -> None:
    assert make_page(training=TRAINING, small=make_pictures(len(LABELS))) == html


@pytest.mark.parametrize(
    ("size", "megabytes"), [(64, 3), pytest.param(256, 32, marks=pytest.mark.slow)]
)
def test_twelve_cases_of_a_whole_run_stay_small(size: int, megabytes: int) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    weave = 120 + 60 * np.sin(y / 2) * np.sin(x / 3)
    image = np.clip(weave[..., None] + rng.normal(0, 8, (size, size, 3)), 0, 255).astype(np.uint8)
    # The worst case: a quarter of the image changes in every state and never settles, and outlines
    # are those of single pixels.
    states = np.repeat(image[None], 31, axis=0)
    half = size // 2
    states[:, :half, :half] = rng.permuted(states[:, :half, :half], axis=1)
    masks = rng.random((31, size, size)) < 0.2
    case = make_case(size=size, image=image, reconstructions=states, masks=masks)
    frame = len(make_page(cases=[]))
    one_case = len(make_page(cases=[case])) - frame
    assert frame + 12 * one_case < megabytes * 1e6


def test_a_score_equal_to_the_threshold_is_not_flagged() -> None:
    run = make_run(scores=dict.fromkeys(KINDS, np.full(9, 1.0)))
    counts = run.confusion("combined")
    assert (counts.true_positives, counts.misses, counts.false_alarms, counts.true_negatives) == (
        0,
        5,
        0,
        4,
    )
    Page(make_page(replace(run))).check()

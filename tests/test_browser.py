"""Effects of scripts in Chromium: a report's slider, search, sorting and pictures; the service's
page.

Needs `pip install -e '.[browser]'`, or Playwright and any Chromium; skipped otherwise.
"""

import importlib.util
import io
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.detector import Detector
from i3ad_jax.pictures import outline, overlay
from i3ad_jax.report.comparison import comparison_page
from i3ad_jax.report.distribution import distribution
from tests.support.report_parts import enlarged, make_case, make_page, make_pictures
from tests.support.run_results import DEFECTS, LABELS, make_run
from tests.support.service import LIMITS, png, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_SECONDS = 30


@contextmanager
def qt_browser() -> Iterator[str]:
    """The address of a QtWebEngine; skips the test if it does not start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).parent / "support/qt_browser.py"
    process = subprocess.Popen([sys.executable, script, str(port)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    yield f"http://127.0.0.1:{port}"
                    return
            time.sleep(0.1)
        pytest.skip("QtWebEngine is installed but does not start here")
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """A page of a headless Chromium, whichever there is."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with ExitStack() as stack:
        chromium = stack.enter_context(playwright.sync_playwright()).chromium
        system = next(filter(None, map(shutil.which, BROWSERS)), None)
        if Path(chromium.executable_path).exists() or system:
            own = None if Path(chromium.executable_path).exists() else system
            browser = chromium.launch(executable_path=own, args=["--no-sandbox"])
            stack.callback(browser.close)
            yield browser.new_page()
        elif has_qt():
            browser = chromium.connect_over_cdp(stack.enter_context(qt_browser()), no_defaults=True)
            yield browser.contexts[0].pages[0]
        else:
            pytest.skip("no Chromium: neither Playwright's, nor the system's, nor QtWebEngine")


def has_qt() -> bool:
    try:
        return importlib.util.find_spec("PySide6.QtWebEngineWidgets") is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report: image 4 is a case, the others have pictures, 0 a large one."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    large = {0: enlarged(make_case(0, size=24))}
    page = make_page(cases=[make_case(4)], small=make_pictures(9), large=large)
    path.write_text(page, encoding="utf-8")
    return path


@contextmanager
def opened(tab: Any, address: str) -> Iterator[list[str]]:
    """The address, opened again, wide and light; gives what its scripts report as errors."""
    errors: list[str] = []

    def record(error: Any) -> None:
        errors.append(getattr(error, "text", str(error)))

    tab.on("pageerror", record)
    tab.on("console", record)
    tab.set_default_timeout(10_000)
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.goto("about:blank")
    tab.goto(address)
    yield errors
    tab.remove_listener("pageerror", record)
    tab.remove_listener("console", record)


@pytest.fixture
def page(tab: Any, file: Path) -> Iterator[Any]:
    """The report; an error of its scripts fails the test."""
    with opened(tab, file.as_uri()) as errors:
        yield tab
    assert errors == []


@pytest.fixture(scope="module")
def detector(pca_run: Path) -> Detector:
    return Detector.load(pca_run).with_rule(score="l2")


def shown_rows(page: Any) -> list[int]:
    rows = page.locator("#images tbody tr:visible")
    return [int(index) for index in rows.evaluate_all("rows => rows.map(row => row.dataset.index)")]


def counts(page: Any) -> dict[str, int]:
    panel = page.locator("[data-headline]")
    names = ("found", "missed", "false alarm", "passed")
    return {name: int(panel.locator(f'[data-count="{name}"]').inner_text()) for name in names}


def numpy_counts(threshold: float) -> dict[str, int]:
    above, anomalous = make_run().scores["combined"] > threshold, LABELS == 1
    return {
        "found": int((above & anomalous).sum()),
        "missed": int((~above & anomalous).sum()),
        "false alarm": int((above & ~anomalous).sum()),
        "passed": int((~above & ~anomalous).sum()),
    }


def test_slider_shows_the_counts_of_its_threshold_from_the_keyboard(page: Any) -> None:
    own = distribution(LABELS, make_run().scores["combined"], threshold=1.0)
    slider = page.get_by_label("Threshold of the Combined score")
    assert counts(page) == numpy_counts(1.0)
    slider.focus()
    for key, position in (
        ("ArrowRight", 1),
        ("Home", own.first),
        ("End", own.last),
        ("ArrowLeft", own.last - 1),
    ):
        page.keyboard.press(key)
        assert slider.input_value() == str(position)
        assert counts(page) == numpy_counts(own.at(position))
    for position in range(own.first, own.last, 20):
        slider.fill(str(position))
        expected = numpy_counts(own.at(position))
        assert counts(page) == expected
        for outcome, count in expected.items():
            assert page.locator(f'#images tr[data-outcome="{outcome}"]').count() == count
        assert f"{expected['missed']} missed" in slider.get_attribute("aria-valuetext")
    page.get_by_role("button", name="Default (1)").first.press("Enter")
    assert slider.input_value() == "0"
    assert counts(page) == numpy_counts(1.0)


def test_each_score_has_its_own_slider(page: Any) -> None:
    page.get_by_text("Other scores").press("Enter")
    page.get_by_label("Threshold of the L2 score").press("Home")
    panel = page.locator('.threshold[data-score="l2"]')
    assert panel.locator('[data-count="missed"]').inner_text() == "0"
    assert counts(page) == numpy_counts(1.0)


def test_line_stands_at_the_thumb(page: Any) -> None:
    slider = page.get_by_label("Threshold of the Combined score")
    for key, place in (("Home", 0.0), ("End", 1.0)):
        slider.press(key)
        line = page.locator("[data-headline] .line").bounding_box()
        axis = page.locator("[data-headline] svg").bounding_box()
        assert line["x"] + 1 == pytest.approx(axis["x"] + place * axis["width"], abs=1.5)


def test_search_and_filters_show_what_fits_and_count_it(page: Any) -> None:
    search = page.get_by_label("Path")
    search.press_sequentially("HOLE/00")
    assert {*shown_rows(page)} == {4, 5, 6}
    assert page.locator("#images output").inner_text() == "3 of 9 images"
    search.fill("")
    page.get_by_role("combobox", name="Class").select_option("scratch")
    assert {*shown_rows(page)} == {7, 8}
    page.get_by_role("combobox", name="Outcome").select_option("found")
    found = make_run().scores["combined"] > 1.0
    assert {*shown_rows(page)} == {i for i in (7, 8) if found[i]}


def test_filter_by_outcome_follows_the_slider(page: Any) -> None:
    page.get_by_role("combobox", name="Outcome").select_option("missed")
    page.get_by_label("Threshold of the Combined score").press("End")
    assert {*shown_rows(page)} == {*np.flatnonzero(LABELS).tolist()}
    page.get_by_label("Threshold of the Combined score").press("Home")
    assert shown_rows(page) == []


def test_header_buttons_sort_from_the_keyboard(page: Any) -> None:
    scores = make_run().scores

    def press(name: str) -> str | None:
        page.get_by_role("button", name=name, exact=True).press("Enter")
        header = page.locator(
            "#images thead th", has=page.get_by_role("button", name=name, exact=True)
        )
        assert page.locator("#images th[aria-sort]:not([aria-sort=none])").count() == 1
        return header.get_attribute("aria-sort")

    assert shown_rows(page) == np.argsort(-scores["combined"]).tolist()
    assert not page.get_by_role("button", name="L2", exact=True).is_visible()
    page.get_by_label("Show the remaining scores").press("Space")
    assert press("Combined") == "ascending"
    assert shown_rows(page) == np.argsort(scores["combined"]).tolist()
    assert press("L2") == "descending"
    assert shown_rows(page) == np.argsort(-scores["l2"]).tolist()
    assert press("Class") == "ascending"
    assert [DEFECTS[i] for i in shown_rows(page)] == sorted(DEFECTS)
    # Of equal classes those with higher L2 stay first.
    assert shown_rows(page)[:4] == [i for i in np.argsort(-scores["l2"]).tolist() if LABELS[i] == 0]


def test_dialog_shows_a_picture_goes_on_and_gives_the_focus_back(page: Any) -> None:
    buttons = page.locator("#images .open")
    name = buttons.first.inner_text()
    buttons.first.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading").inner_text() == name
    assert dialog.locator("img").count() == 2
    assert all(dialog.locator("img").evaluate_all("all => all.map(img => img.naturalWidth > 0)"))
    page.keyboard.press("ArrowRight")
    assert dialog.get_by_role("heading").inner_text() != name
    page.keyboard.press("ArrowLeft")
    assert dialog.get_by_role("heading").inner_text() == name
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.textContent") == name


def test_a_case_opens_its_states_and_plays_them(page: Any) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    page.locator('#images a[href="#case-4"]').press("Enter")
    case = page.locator("#case-4")
    assert page.evaluate("location.hash") == "#case-4"
    assert case.evaluate("case_ => case_ === document.querySelector(':target')")
    slider = case.get_by_label("Iteration of")
    assert slider.input_value() == "3"
    slider.press("ArrowLeft")
    assert case.locator("output").inner_text() == "iteration 2"
    page.get_by_label("Iteration of all cases").press("Home")
    assert slider.input_value() == "0"
    assert case.locator(".area").inner_text() == "100.0 %"
    page.get_by_role("button", name="Play").press("Enter")
    expect(page.get_by_label("Iteration of all cases")).to_have_value("3")
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_a_case_is_enlarged_and_so_is_a_mistake_that_is_no_case(page: Any) -> None:
    page.get_by_role("button", name="Enlarge test/hole/004.png").press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.get_by_role("heading").inner_text() == "test/hole/004.png"
    for index, size in ((4, 16), (0, 24)):
        figures = dialog.locator("svg.large")
        assert figures.count() == 2
        assert figures.evaluate_all("all => all.every(own => own.clientWidth > 400)")
        assert dialog.get_by_text(f"input, {size} x {size} pixels").is_visible()
        assert page.locator(f"#picture-{index}").count() == 1
        assert not dialog.get_by_text("small pictures alone").is_visible()
        dialog.get_by_label("Own size").check()
        assert figures.evaluate_all("all => all.map(own => own.clientWidth)") == [size, size]
        dialog.get_by_label("Own size").uncheck()
        page.keyboard.press("Escape")
        page.locator('#images tr[data-index="0"] .open').press("Enter")
    page.keyboard.press("ArrowLeft")
    assert dialog.locator("img").count() == 2
    assert dialog.get_by_text("small pictures alone").is_visible()
    assert not dialog.get_by_label("Contrast").is_visible()


def shown_heat(page: Any) -> np.ndarray:
    """The pixels of the map of case 4, a pixel of the picture on one of the page."""
    page.get_by_role("button", name="Enlarge test/hole/004.png").press("Enter")
    page.get_by_label("Own size").check()
    whole_pixels = "dialog .large { border-radius: 0; position: fixed; inset: 0 auto auto 0 }"
    page.add_style_tag(content=f"dialog path {{ display: none }} {whole_pixels}")
    shot = page.locator("dialog svg.large").nth(1).screenshot()
    page.keyboard.press("Escape")
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


@pytest.mark.parametrize("presses", [0, 5, 20])
def test_a_large_map_has_the_colours_of_overlay_at_any_contrast(page: Any, presses: int) -> None:
    page.get_by_label("Contrast").first.focus()
    for _ in range(presses):
        page.keyboard.press("ArrowRight")
    case, hottest = make_case(4), 10 * 2 ** (-presses / 5)
    shown = page.locator(".contrast output")
    assert shown.first.inner_text() == f"{hottest:g}"
    assert shown.first.inner_text() == shown.nth(1).text_content()
    expected = overlay(case.image, case.anomaly_map, vmax=hottest).astype(int)
    assert np.abs(shown_heat(page) - expected).max() <= 5
    page.locator(".contrast button").first.press("Enter")
    assert shown.first.inner_text() == "10"


def test_contrast_moves_the_mark_of_the_threshold(page: Any, tmp_path: Path) -> None:
    run = make_run(results={"pixel_threshold": 2.5})
    (tmp_path / "page.html").write_text(make_page(run), encoding="utf-8")
    page.goto((tmp_path / "page.html").as_uri())
    mark = page.locator("#cases .scale b")
    for position, left in ((0, "25%"), (5, "50%"), (10, "100%"), (20, "100%"), (-5, "12.5%")):
        page.get_by_label("Contrast").first.fill(str(position))
        assert mark.evaluate("mark => mark.style.left") == left


def test_a_phone_s_report_is_folded_and_links_open_what_they_lead_to(
    page: Any, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    training = [{"step": i, **{f"loss_{k}": 1.0 / i for k in range(8)}} for i in (1, 2)]
    cases = [
        make_case(index, group=group, size=64, image=rng.integers(0, 99, (64, 64, 3), np.uint8))
        for index, group in enumerate(np.repeat([*"abcd"], [3, 2, 2, 2]).tolist())
    ]
    text = make_page(training=training, cases=cases, small=make_pictures(9))
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    page.set_viewport_size({"width": 375, "height": 800})
    page.goto((tmp_path / "page.html").as_uri())
    height = "document.documentElement.scrollHeight"
    assert page.evaluate(height) <= 6000
    case = page.locator("#case-3")
    assert not case.is_visible()
    page.locator('#images a[href="#case-3"]').press("Enter")
    assert case.is_visible()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto("about:blank")
    page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("[...document.querySelectorAll('details.long')].every(part => part.open)")


def test_tab_reaches_every_control_in_the_order_of_the_page(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    wanted = page.evaluate(
        "[...document.querySelectorAll('a, button, input, select, summary, [tabindex=\"0\"]')]"
        ".filter(e => e.checkVisibility()).length"
    )
    places = []
    for _ in range(wanted):
        page.keyboard.press("Tab")
        places.append(
            page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
    assert len({*places}) == wanted
    assert places == sorted(places)


@pytest.mark.parametrize("of", ["report", "comparison"])
@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_scrolls_no_page_sideways(page: Any, tmp_path: Path, width: int, of: str) -> None:
    if of == "comparison":
        runs = [make_run(seed, name=f"a/long/path/of/a/run/{seed}" * 4) for seed in range(6)]
        (tmp_path / "page.html").write_text(
            comparison_page(runs, reports=[None] * 6), encoding="utf-8"
        )
        page.goto((tmp_path / "page.html").as_uri())
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    filters, table = (
        page.locator(f".images {own}").bounding_box() for own in (".filters", "table")
    )
    assert filters["y"] + filters["height"] <= table["y"]
    assert page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )


def test_comparison_sorts_and_searches(page: Any, tmp_path: Path) -> None:
    runs = [make_run(seed) for seed in range(3)]
    (tmp_path / "page.html").write_text(comparison_page(runs, reports=[None] * 3), encoding="utf-8")
    page.goto((tmp_path / "page.html").as_uri())
    page.get_by_role("button", name="Run 2", exact=True).press("Enter")
    cells = page.locator(".images tbody tr td:nth-child(5)").evaluate_all(
        "all => all.map(c => +c.dataset.value)"
    )
    assert cells == sorted(cells, reverse=True)
    page.get_by_label("Path").fill("nowhere")
    assert re.match(r"0 of \d+ images", page.locator(".images output").inner_text())


def test_a_phone_shows_auroc_and_mistakes_of_the_runs(page: Any, tmp_path: Path) -> None:
    runs = [make_run(seed, name=f"a/long/path/of/a/run/{seed}" * 4) for seed in range(6)]
    (tmp_path / "page.html").write_text(comparison_page(runs, reports=[None] * 6), encoding="utf-8")
    page.set_viewport_size({"width": 375, "height": 800})
    page.goto((tmp_path / "page.html").as_uri())
    for name in ("Image AUROC", "Missed", "False alarms"):
        box = page.locator(".runs th", has_text=name).bounding_box()
        assert box["x"] + box["width"] <= 375


def luminance(colour: str) -> float:
    channels = [int(x) / 255 for x in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_either_scheme(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.get_by_label("Threshold of the Combined score").press("End")  # all are missed, or passed
    card = page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
    assert (luminance(card) < 0.1) == (scheme == "dark")
    for selector in (
        ".card",
        ".card .soft",
        ".card a",
        ".chip.missed",
        ".chip.passed",
        ".card small",
    ):
        ink = page.locator(selector).first.evaluate("element => getComputedStyle(element).color")
        light, dark = sorted((luminance(ink), luminance(card)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, selector  # WCAG 2.2, level AA
    page.emulate_media(color_scheme="light")


def test_print_has_no_controls_and_whole_tables(page: Any) -> None:
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert not page.get_by_label("Threshold of the Combined score").is_visible()
    assert page.locator("#images .scroll").evaluate(
        "box => box.scrollHeight <= box.clientHeight + 1"
    )
    page.emulate_media(media="screen")


@pytest.fixture(scope="module")
def service(detector: Detector) -> Iterator[str]:
    with serving(detector, LIMITS) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def service_with_token(detector: Detector) -> Iterator[str]:
    with serving(detector, LIMITS, token="secret") as port:
        yield f"http://127.0.0.1:{port}/"


def bright(seed: int) -> bytes:
    """An image of 50 x 30 pixels, unlike the others of a run and of its own size."""
    return png(seed, (30, 50))


def give(tab: Any, *files: tuple[str, bytes], how: str = "images") -> None:
    """Choose files as images or as the files of a folder, or drop them, without a dialog."""
    tab.evaluate(
        """([files, how]) => {
            const data = new DataTransfer();
            for (const [name, bytes] of files) {
                data.items.add(new File([new Uint8Array(bytes)], name));
            }
            const flags = { bubbles: true, cancelable: true };
            if (how === "drop") {
                const event = new DragEvent("drop", { dataTransfer: data, ...flags });
                document.querySelector("h1").dispatchEvent(event);
            } else {
                const input = document.getElementById(how);
                input.files = data.files;
                input.dispatchEvent(new Event("change", flags));
            }
        }""",
        [[[name, list(content)] for name, content in files], how],
    )


@pytest.mark.parametrize("how", ["images", "folder", "drop"])
def test_the_service_s_page_shows_what_the_detector_says(
    tab: Any, detector: Detector, service: str, how: str
) -> None:
    image = bright(3)
    (expected,) = detector.score([image])
    assert expected.regions
    with opened(tab, service) as errors:
        give(tab, ("part.png", image), how=how)
        tab.locator("#heat img").wait_for()
        assert expected.verdict in tab.locator("#verdict").inner_text().lower()
        assert tab.locator("#name").inner_text() == "part.png"
        cells = tab.locator("#scores td").all_text_contents()
        shown = dict(zip(cells[::2], map(float, cells[1::2]), strict=True))
        assert shown == pytest.approx(expected.scores, rel=1e-3)
        sizes = tab.locator(".picture img").evaluate_all(
            "all => Promise.all(all.map(async x => {"
            " await x.decode(); return [x.naturalWidth, x.naturalHeight]; }))"
        )
        assert sizes == [[50, 30], [50, 30]]
        for part in tab.locator(".picture svg").all():
            assert part.get_attribute("viewBox") == "0 0 50 30"
            boxes = part.locator(".box").get_attribute("d")
            assert re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)", boxes) == [
                (str(own.left), str(own.top), str(own.width), str(own.height))
                for own in expected.regions
            ]
            above = outline(expected.map > detector.rule.pixel_threshold)
            assert part.locator(".outline").get_attribute("d") == above
        assert f"{detector.rule.pixel_threshold:.4g}" in tab.locator("#region-rule").inner_text()
        for name in ("Outlines", "Boxes"):
            tab.get_by_label(f"{name} of regions").press("Space")
            assert not tab.locator(f".picture .{name[:-1].lower()}").first.is_visible()
        assert errors == []


def test_the_service_s_page_has_the_place_of_the_score_and_the_threshold(
    tab: Any, detector: Detector, service: str, tiny_folder: Path
) -> None:
    files = sorted(tiny_folder.glob("test/*/*.png"))
    with opened(tab, service):
        give(tab, *((file.name, file.read_bytes()) for file in files))
        tab.get_by_text("Scored: ").wait_for()
        tab.wait_for_function(
            f"document.querySelectorAll('#dots .dot[style]').length === {len(files)}"
        )
        line = tab.locator("#scale .line").bounding_box()
        dots = tab.locator("#dots .dot").evaluate_all(
            "all => all.map(x => [x.className, x.getBoundingClientRect()])"
        )
        for kind, box in dots:
            assert ("anomalous" in kind) == (box["x"] + box["width"] / 2 > line["x"] + 1)
        assert len({"anomalous" in kind for kind, _ in dots}) == 2
        label = tab.get_by_role("img", name="Scores l2 of 6 images").get_attribute("aria-label")
        assert f"threshold {detector.rule.threshold:.4g}" in label


def test_the_service_s_page_keeps_the_history_of_the_session(
    tab: Any, detector: Detector, service: str, tiny_folder: Path
) -> None:
    good = (tiny_folder / "test/good/0.png").read_bytes()
    spot = (tiny_folder / "test/spot/0.png").read_bytes()
    with opened(tab, service):
        give(tab, ("first.png", good))
        tab.get_by_text("Scored: ").wait_for()
        folder = [
            ("b10.PNG", spot),
            ("notes.txt", b"x"),
            ("b9.png", b"no image"),
            ("a.png", bright(1)),
        ]
        give(tab, *folder, how="folder")
        tab.get_by_text("Skipped 1 file of other types").wait_for()
        tab.get_by_text("Scored: ").wait_for()
        rows = tab.locator("#history tbody tr")
        assert [row.split("\t")[0].split("\n")[0] for row in rows.all_inner_texts()] == [
            "a.png",
            "b9.png",
            "b10.PNG",
            "first.png",
        ]
        results = rows.locator("td:nth-child(2)").all_inner_texts()
        assert [own[2:] for own in results] == ["Unusable", "Not scored", "Anomalous", "Normal"]
        assert "b9.png: not a PNG" in rows.nth(1).inner_text()
        (reason,) = (each.unusable for each in detector.score([bright(1)]))
        assert reason in rows.nth(0).inner_text()
        assert tab.locator("#name").inner_text() == "a.png"
        tab.get_by_role("radio", name="a.png").focus()
        for name in ("b10.PNG", "first.png"):  # the one that is not scored cannot be shown
            tab.keyboard.press("ArrowDown")
            assert tab.locator("#name").inner_text() == name
        green = tab.locator("#verdict").evaluate("x => getComputedStyle(x).color")
        red, green, blue = map(int, re.findall(r"\d+", green)[:3])
        assert green > 2 * max(red, blue) - 30


def test_the_service_s_page_takes_a_folder_that_is_dropped(
    tab: Any, service: str, tmp_path: Path
) -> None:
    (tmp_path / "parts/cam1").mkdir(parents=True)
    (tmp_path / "parts/cam1/a.png").write_bytes(bright(1))
    (tmp_path / "parts/b.png").write_bytes(bright(2))
    (tmp_path / "parts/notes.txt").write_text("x")
    with opened(tab, service) as errors:
        box = tab.locator("#form").bounding_box()
        files = {"items": [], "files": [str(tmp_path / "parts")], "dragOperationsMask": 1}
        session = tab.context.new_cdp_session(tab)
        for kind in ("dragEnter", "dragOver", "drop"):
            place = {"x": box["x"] + 20, "y": box["y"] + 20}
            session.send("Input.dispatchDragEvent", {"type": kind, "data": files, **place})
        tab.get_by_text("Scored: ").wait_for()
        names = tab.locator("#history tbody label").all_inner_texts()
        assert names == ["parts/b.png", "parts/cam1/a.png"]
        assert "Skipped 1 file" in tab.locator("#status").inner_text()
        assert errors == []


def test_the_service_s_page_asks_for_a_token_only_where_one_is_needed(
    tab: Any, service: str, service_with_token: str
) -> None:
    with opened(tab, service):
        tab.get_by_text("method pca").wait_for()
        assert not tab.get_by_label("Token").is_visible()
    with opened(tab, service_with_token):
        token = tab.get_by_label("Token")
        token.wait_for()
        give(tab, ("a.png", bright(1)), ("b.png", bright(2)))
        tab.get_by_text("needs its token").wait_for()
        assert tab.evaluate("document.activeElement.id") == "token"
        assert tab.locator("#history td:nth-child(2)").all_inner_texts() == ["waiting", "waiting"]
        for given, message in (("wrong-ß", "needs its token"), ("secret", "Scored: ")):
            token.fill(given)
            token.press("Enter")
            tab.get_by_text(message).wait_for()
        assert tab.locator("#history td:nth-child(2)").all_inner_texts() == ["? Unusable"] * 2


@pytest.mark.parametrize("path", ["", "docs"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_service_s_texts_stand_out_and_fit_a_phone(
    tab: Any, service: str, tiny_folder: Path, path: str, scheme: str
) -> None:
    with opened(tab, service):
        tab.emulate_media(color_scheme=scheme)
        tab.set_viewport_size({"width": 375, "height": 800})
        if path:
            tab.goto(tab.url + path)
        else:
            spot = (tiny_folder / "test/spot/0.png").read_bytes()
            good = (tiny_folder / "test/good/0.png").read_bytes()
            files = [("a" * 80 + ".png", spot), ("b.png", good), ("c", b""), ("d.png", bright(1))]
            give(tab, *files)
            tab.get_by_text("Scored: ").wait_for()
            tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert tab.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        )
        texts = tab.evaluate(
            """() => [...document.querySelectorAll("main *")]
                .filter(x => x.checkVisibility() && [...x.childNodes].some(
                    own => own.nodeType === Node.TEXT_NODE && own.data.trim()))
                .map(x => {
                    let below = x;
                    const background = () => getComputedStyle(below).backgroundColor;
                    while (/, 0\\)$/.test(background())) below = below.parentElement;
                    return [x.textContent.trim(), getComputedStyle(x).color, background()];
                })"""
        )
        assert len(texts) > 20
        for text, ink, ground in texts:
            light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ink, ground)
        assert (luminance(texts[0][2]) < 0.1) == (scheme == "dark")
        tab.emulate_media(color_scheme="light")


def test_every_control_of_the_service_s_page_has_a_name_and_the_keyboard(
    tab: Any, service_with_token: str, tiny_folder: Path
) -> None:
    with opened(tab, service_with_token):
        tab.get_by_label("Token").wait_for()
        tab.evaluate("document.getElementById('token').value = 'secret'")
        give(tab, ("spot.png", (tiny_folder / "test/spot/0.png").read_bytes()))
        tab.locator("#heat img").wait_for()
        controls = tab.locator("a, input, summary").filter(visible=True)
        assert controls.count() == 9
        for own in controls.all():
            name = own.evaluate(
                "x => [...(x.labels ?? [x])].map(own => own.textContent).join('').trim()"
            )
            assert name, own
        places = []
        for _ in range(controls.count()):
            tab.keyboard.press("Tab")
            places.append(controls.evaluate_all("all => all.indexOf(document.activeElement)"))
        assert places == [*range(controls.count())]

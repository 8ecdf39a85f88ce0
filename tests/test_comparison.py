"""A comparison of runs says what their results say, and refuses what cannot be compared."""

import json

import numpy as np
import pytest

from i3ad_jax.errors import InputError
from i3ad_jax.report.comparison import (
    Spread,
    check_comparable,
    comparison_page,
    differing_settings,
    disagreements,
    found_alone,
    same_but_for_seed,
)
from tests.support.html_page import Page
from tests.support.report_parts import make_pictures
from tests.support.run_results import DEFECTS, KINDS, LABELS, make_run

HOSTILE = """</script><script>alert('1')</script> & "quoted" $x_1$"""


@pytest.fixture(scope="module")
def html() -> str:
    runs = [make_run(0), make_run(1), make_run(2, config={"seed": 2, "method": "pca"})]
    return comparison_page(runs, reports=["a b/report.html", None, "c/report.html"])


def test_page_is_sound(html: str) -> None:
    page = Page(html)
    page.check()
    page.check_prose()
    assert [link for link in page.attributes("href") if not link.startswith("#")] == [
        "a%20b/report.html",
        "c/report.html",
    ]


def test_metrics_are_those_of_the_results(html: str) -> None:
    lines = Page(html).lines
    for seed in range(3):
        run = make_run(seed)
        for kind in KINDS:
            assert f"{run.results['scores'][kind]['image_auroc']:.3f}" in lines
        counts = run.confusion("combined")
        assert f"{counts.misses} of 5" in lines
        assert f"{counts.false_alarms} of 4" in lines


def test_mean_and_deviation_are_over_the_runs_that_differ_by_seed(html: str) -> None:
    values = [make_run(seed).results["scores"]["combined"]["image_auroc"] for seed in (0, 1)]
    mean, sd = np.mean(values), abs(values[0] - values[1]) / np.sqrt(2)
    lines = Page(html).lines
    # of the combined score, which is the headline
    assert lines.count(f"{mean:.3f} ± {sd:.3f}") >= 2
    assert "i3ad, runs 1, 2" in lines
    assert not any(line.startswith("pca, runs") for line in lines)


def test_spread_of_a_missing_metric_is_none() -> None:
    assert Spread.of([0.5, None]) == Spread(None, None)
    spread = Spread.of([0.25, 0.75])
    assert (spread.mean, spread.sd) == (0.5, pytest.approx(np.sqrt(0.125)))


def test_runs_are_grouped_by_all_settings_but_seed_and_throughput() -> None:
    def run(seed: int, width: int, queue: int) -> object:
        config = {"seed": seed, "training": {"width": width}, "throughput": {"queue_size": queue}}
        return make_run(seed, config=config)

    runs = [run(0, 8, 1), run(1, 4, 1), run(1, 8, 2), run(2, 8, 1), run(0, 16, 1)]
    assert same_but_for_seed(runs) == [[0, 2, 3]]  # type: ignore[arg-type]
    assert differing_settings(runs) == {  # type: ignore[arg-type]
        "seed": [*"01120"],
        "training.width": ["8", "4", "8", "8", "16"],
        "throughput.queue_size": [*"11211"],
    }


def test_settings_that_only_some_runs_have_differ() -> None:
    runs = [make_run(0, config={"a": None}), make_run(1, config={"b": 1})]
    lines = Page(comparison_page(runs, reports=[None, None])).lines
    assert sum(line.endswith(" has none") for line in lines) == 2
    assert "null" in lines


def test_disagreements_are_the_images_that_not_all_runs_flag() -> None:
    runs = [make_run(seed) for seed in range(3)]
    flagged = np.stack([run.scores["combined"] > 1.0 for run in runs])
    wrong = (flagged != (LABELS == 1)).sum(axis=0)
    differing = flagged.any(axis=0) & ~flagged.all(axis=0)
    assert differing.any()
    rows = disagreements(runs)
    assert {row["path"] for row in rows} == {runs[0].paths[i] for i in np.flatnonzero(differing)}
    for row in rows:
        index = runs[0].paths.index(row["path"])
        assert row["wrong"] == wrong[index]
        assert row["scores"] == [run.scores["combined"][index] for run in runs]
    assert [row["wrong"] for row in rows] == sorted((row["wrong"] for row in rows), reverse=True)
    found = flagged & (LABELS == 1)
    assert found_alone(runs) == [[int((a & ~b).sum()) for b in found] for a in found]


def test_thresholds_are_those_of_the_selected_scores() -> None:
    runs = [
        make_run(i, results={"thresholds": dict.fromkeys(KINDS, 1.5 + i), "pixel_threshold": own})
        for i, own in enumerate((0.625, None))
    ]
    lines = Page(comparison_page(runs, reports=[None, None])).lines
    first, second = (lines.index(f"runs/{i}") for i in range(2))
    assert {"1.5", "0.625"} <= {*lines[:first]}
    assert "2.5" in lines[first:second]
    assert {"threshold 1.5", "threshold 2.5"} <= {*lines}


def test_disagreements_show_the_image_and_the_map_of_each_run_that_has_one() -> None:
    runs, thumbnails = [make_run(seed) for seed in range(3)], make_pictures(9)
    paths = [row["path"] for row in disagreements(runs)]
    named = dict(zip(paths, thumbnails.values(), strict=False))
    last = dict(list(named.items())[:-1])  # the budget of this run ended
    page = Page(comparison_page(runs, reports=[None] * 3, pictures=[{}, named, last]))
    page.check()
    page.check_prose()
    expected = [uri for own in last.values() for uri in (own.input, own.heat, own.heat)]
    own = named[paths[-1]]
    assert page.pictures() == [*expected, own.input, own.heat]
    assert "limited in size" not in " ".join(page.lines)
    part = comparison_page(runs, reports=[None] * 3, pictures=[{}, last, last])
    words = f"those of {len(last)} of {len(paths)} images are here"
    assert words in " ".join(Page(part).lines)
    assert Page(comparison_page(runs, reports=[None] * 3)).pictures() == []


def test_images_are_matched_by_path_whatever_their_order() -> None:
    run = make_run(0)
    order = np.arange(9)[::-1]
    turned = make_run(
        0,
        name="turned",
        paths=tuple(run.paths[i] for i in order),
        labels=LABELS[order],
        defects=tuple(DEFECTS[i] for i in order),
        scores={kind: own[order] for kind, own in run.scores.items()},
    )
    assert disagreements([run, turned]) == []
    assert found_alone([run, turned]) == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    "changes",
    [
        {"paths": tuple(f"other/{i}.png" for i in range(9))},
        {"defects": ("good",) * 4 + ("hole",) * 5},
        {"results": {"data_digest": "1" * 64}},
        {"labels": LABELS[1:], "defects": DEFECTS[1:]},
    ],
    ids=["paths", "classes", "content", "fewer"],
)
def test_runs_of_other_test_images_are_refused(changes: dict) -> None:
    with pytest.raises(InputError, match=r"runs/1: was tested on other images"):
        check_comparable([make_run(0), make_run(1, **changes)])


def test_the_same_images_in_another_size_are_compared_with_a_remark() -> None:
    results = {"data_digest": "1" * 64, "preprocessing": {"working_size": [32, 32]}}
    runs = [make_run(0), make_run(1, results=results)]
    check_comparable(runs)
    text = " ".join(Page(comparison_page(runs, reports=[None, None])).lines)
    assert "The runs see the images in different sizes" in text


def test_a_run_that_is_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="named twice"):
        check_comparable([make_run(0), make_run(1, name="runs/../runs/0")])


def test_names_from_data_are_escaped() -> None:
    changes = {"defects": (*DEFECTS[:-1], HOSTILE), "paths": (*map(str, range(8)), HOSTILE)}
    scores = [np.where(LABELS, value, 0.0) for value in (0.0, 2.0)]
    runs = [
        make_run(
            i,
            name=HOSTILE + str(i),
            config={HOSTILE: i},
            scores=dict.fromkeys(KINDS, own),
            **changes,
        )
        for i, own in enumerate(scores)
    ]
    html = comparison_page(runs, reports=[HOSTILE, None])
    page = Page(html)
    page.check()
    assert "<script>alert" not in html
    assert HOSTILE in page.attributes("data-path")
    assert json.dumps(HOSTILE) not in html

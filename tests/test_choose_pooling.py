"""Choice of poolings and of the selected score by synthetic defects."""

from typing import Any

import numpy as np
import pytest

from i3ad_jax.calibration.choose_pooling import choose_headline, choose_poolings, clearly_best
from i3ad_jax.scoring.maps import POOLINGS, Pooling, image_scores

RNG = np.random.default_rng(0)


def anomalous(where: Any, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal maps of noise, and the same raised by so much at a place."""
    normal = RNG.normal(size=(40, 64, 64)).astype(np.float32)
    # What differs between images is their level: a single pixel stands out from its own map alone.
    normal += RNG.normal(0, 0.05, (40, 1, 1)).astype(np.float32)
    planted = normal.copy()
    planted[where] += by
    return normal, planted


@pytest.mark.parametrize(
    ("where", "by", "best"),
    [(np.s_[:, 20, 30], 8.0, "top_01"), (np.s_[:], 0.1, "mean")],
    ids=["one pixel", "the whole map"],
)
def test_the_pooling_that_separates_planted_defects_is_chosen(
    where: Any, by: float, best: Pooling
) -> None:
    normal, planted = anomalous(where, by)
    name = "ssim_calibrated"
    chosen, areas = choose_poolings({name: normal}, {name: planted}, "auto")
    assert chosen == {name: best}
    assert set(areas[name]) == set(POOLINGS)
    for pooling in POOLINGS:
        area = areas[name][pooling]
        low, high = (image_scores(maps, pooling) for maps in (normal, planted))
        ranks = (low[:, None] < high).mean() + (
            low[:, None] == high
        ).mean() / 2  # Mann and Whitney's
        assert area == pytest.approx(ranks)
        assert area <= areas[name][best]


def test_plain_scores_are_means_and_a_given_pooling_is_that_of_the_others() -> None:
    normal, planted = anomalous(np.s_[:, 20, 30], 8.0)
    names = ("ssim", "ssim_calibrated", "combined")
    chosen, areas = choose_poolings(
        dict.fromkeys(names, normal), dict.fromkeys(names, planted), "peak"
    )
    assert chosen == {"ssim": "mean", "ssim_calibrated": "peak", "combined": "peak"}
    assert {name: list(own) for name, own in areas.items()} == {n: [p] for n, p in chosen.items()}


def test_first_choice_stays_unless_another_is_a_standard_error_better() -> None:
    # At an AUROC of 0.8 by 100 images the standard error is 0.04.
    assert clearly_best({"first": 0.8, "other": 0.83}, 100) == "first"
    assert clearly_best({"first": 0.8, "other": 0.83, "best": 0.85}, 100) == "best"
    assert clearly_best({"first": 0.8, "other": 0.83}, 1000) == "other"
    assert clearly_best({"first": 1.0, "other": 1.0}, 10) == "first"


def test_the_headline_is_the_combined_score_or_one_clearly_better() -> None:
    pooling: dict[str, Pooling] = {"l2": "mean", "ssim_calibrated": "top_1", "combined": "peak"}
    auroc = {
        "l2": {"mean": 0.6},
        "ssim_calibrated": {"top_1": 0.82},
        "combined": {"top_1": 0.99, "peak": 0.8},
    }
    assert choose_headline(pooling, auroc, 100) == "combined"
    assert choose_headline(pooling, auroc, 10_000) == "ssim_calibrated"


def test_what_learned_from_planted_defects_is_not_chosen_by_them() -> None:
    pooling: dict[str, Pooling] = dict.fromkeys(
        ("segmentation", "segmentation_calibrated", "combined"), "mean"
    )
    auroc = {
        "segmentation": {"mean": 1.0},
        "segmentation_calibrated": {"mean": 1.0},
        "combined": {"mean": 0.6},
    }
    assert choose_headline(pooling, auroc, 10_000) == "combined"

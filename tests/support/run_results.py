"""Results of runs that never ran, for the pages that are made of them."""

from typing import Any

import numpy as np

from i3ad_jax.runs.run_results import RunResults
from i3ad_jax.scoring.metrics import image_auroc

KINDS = ("l2", "ssim", "combined")
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
DEFECTS = ("good",) * 4 + ("hole",) * 3 + ("scratch",) * 2


def make_run(seed: int = 0, **changes: Any) -> RunResults:
    """Results with random scores of nine images, the headline a good one; some fields changed."""
    labels = changes.get("labels", LABELS)
    rng = np.random.default_rng(seed)
    scores = {kind: rng.normal(size=len(labels)) + 2 * labels for kind in KINDS}
    scores = changes.get("scores", scores)
    defects = changes.get("defects", DEFECTS)

    def metrics(kind: str) -> dict[str, float | None]:
        auroc = image_auroc(labels, scores[kind])
        return {"image_auroc": auroc, "pixel_auroc": 0.8125, "pixel_aupro": None}

    results = {
        "method": "i3ad",
        "data": "weave",
        "data_source": "textures:weave",
        "data_digest": "0" * 64,
        "seed": seed,
        "steps": 1500,
        "num_test_normal": int((labels == 0).sum()),
        "num_test_anomalous": int((labels == 1).sum()),
        "iterations": 3,
        "u": 0.25,
        "u_reason": "no u has an L1 error below 0.01; this one has the smallest, 0.0123",
        "learned": {
            "held_out_l1_to_mean_image": 0.612345678,
            "held_out_l1_to_fill": 0.5,
            "problem": None,
        },
        "preprocessing": {"working_size": [16, 16]},
        "headline": "combined",
        "standardise": {},
        "pooling": dict.fromkeys(scores, "mean"),
        "planted_auroc": {kind: {"mean": 0.7} for kind in scores},
        "thresholds": dict.fromkeys(scores, 1.0),
        "scores": {
            kind: {
                **metrics(kind),
                "per_defect": {name: metrics(kind) for name in {*defects} - {"good"}},
            }
            for kind in scores
        },
        "seconds_per_image": 0.0212345,
        "environment": {"jax": "1.2.3"},
        **changes.get("results", {}),
    }
    return RunResults(
        name=changes.get("name", f"runs/{seed}"),
        results=results,
        config=changes.get("config", {"seed": seed, "method": "i3ad", "data": {"image_size": 64}}),
        paths=changes.get(
            "paths", tuple(f"test/{name}/{i:03}.png" for i, name in enumerate(defects))
        ),
        labels=labels,
        defects=defects,
        scores=scores,
    )

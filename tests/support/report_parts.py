"""Parts of a report of results that never were."""

from typing import Any

import numpy as np

from i3ad_jax.report.cases import Case
from i3ad_jax.report.enlarged import Enlarged, enlarge
from i3ad_jax.report.large_pictures import LargePicture
from i3ad_jax.report.report import Origin, Pictures, report_page
from i3ad_jax.report.thumbnails import thumbnails
from i3ad_jax.runs.run_results import RunResults
from tests.support.run_results import make_run


def make_case(index: int = 0, *, size: int = 16, states: int = 4, **changes: Any) -> Case:
    rng = np.random.default_rng(index)
    shape = (size, size)
    masks = rng.random((states, *shape)) < 0.3
    masks[:1] = True
    values = {
        "index": index,
        "group": "Anomalous",
        "image": rng.integers(0, 256, (*shape, 3), np.uint8),
        "truth": rng.random(shape) < 0.2,
        "anomaly_map": rng.random(shape, np.float32),
        "reconstructions": rng.integers(0, 256, (states, *shape, 3), np.uint8),
        "masks": masks,
    }
    return Case(**{**values, **changes})


def enlarged(case: Case, *, threshold: float | None = None) -> Enlarged:
    """The large view of a case in its own size."""
    height, width = case.image.shape[:2]
    frame = (0.0, 0.0, float(width), float(height))
    shown = LargePicture(case.image, case.truth, frame, (height, width), True)
    return enlarge(shown, case.anomaly_map, threshold=threshold)


def make_page(
    run: RunResults | None = None,
    *,
    training: Any = (),
    small: Any = (),
    large: Any = (),
    **changes: Any,
) -> str:
    """A report; without training curves, which take time, unless asked for.

    Large views are those of the cases and those given.
    """
    run = run or make_run()
    cases = changes.get("cases", [make_case(index) for index in (0, 4, 5)])
    views = {
        case.index: enlarged(case, threshold=run.results.get("pixel_threshold")) for case in cases
    }
    plan = ["whole images of 16 x 16 pixels, because --view whole"]
    values: dict[str, Any] = {
        "origin": Origin(plan, training, {"test": {"jax": "1.2.3"}}, 120, 30),
        "states": ["checkerboard pass", *(f"iteration {i}" for i in range(1, 5))],
        "cases": cases,
        "pictures": Pictures(dict(small), views | dict(large)),
    }
    return report_page(run, **{**values, **changes})


def make_pictures(count: int, **options: Any) -> dict[int, Any]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 16, 16, 3), np.uint8)
    return thumbnails(
        images, rng.random((count, 16, 16), np.float32), range(count), vmax=1.0, **options
    )

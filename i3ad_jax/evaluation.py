"""Testing: map the test images, write results and report."""

import time
from typing import Any

import jax.numpy as jnp
import numpy as np
from PIL import Image
from skimage.segmentation import mark_boundaries
from skimage.util import img_as_ubyte

from i3ad_jax.calibration import RunCalibration, anomaly_maps, scores_of
from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import Calibration, Method, State
from i3ad_jax.reporting.figures import contact_sheet, overlay
from i3ad_jax.reporting.report import Case, choose_cases, write_report
from i3ad_jax.runs.run_folder import RunFolder, write_array, write_csv, write_json
from i3ad_jax.scoring.metrics import summarise
from i3ad_jax.shapes import to_float, to_uint8

NUM_CASES = 12
MIN_SHOWN_SIDE = 128  # smaller images are enlarged in the picture of the cases
REPORTED_SCORE = "ssim"  # the one that orders the report's cases and draws its heat maps


def assess(
    method: Method,
    config: Config,
    state: State,
    calibration: RunCalibration,
    *,
    data: Dataset,
    folder: RunFolder,
    source: RunFolder,
) -> dict[str, Any]:
    """Metrics on the test images, as written to `results.json` of `folder`, last of its files.

    Args:
        data: only its test split is used.
        folder: where results, scores, maps and report go.
        source: the run that was trained, for the report's charts and environment.

    Raises:
        InputError: there is no test image, or `folder` cannot be written to.
    """
    test = data.test
    if not len(test):
        raise InputError(f"--data {data.name}: no test images; predict scores images without labels")
    # A queue of no images compiles the program, so that its time does not count.
    nothing = jnp.zeros((config.refine.queue_size, *test.images.shape[1:]))
    method.anomaly_maps(state, calibration.values, nothing, 0)
    start = time.perf_counter()
    maps = anomaly_maps(method, config, state, calibration, test.images, label="test")
    seconds = (time.perf_counter() - start) / len(test)
    scores = scores_of(maps, config.score)
    results = {
        "method": config.method,
        "data": data.name,
        "seed": config.seed,
        "num_test_normal": int((test.labels == 0).sum()),
        "num_test_anomalous": int((test.labels == 1).sum()),
        "num_test_without_mask": int((~test.annotated).sum()),
        "iterations": method.traced[-1],
        **calibration.values,
        "scores": summarise(test, maps, scores),
        "seconds_per_image": seconds,
    }
    cases = _cases(method, state, calibration.values, test, maps, scores)
    try:
        folder.maps.mkdir(parents=True, exist_ok=True)
        for kind, values in maps.items():
            write_array(folder.maps / f"{kind}.npy", values)
        columns = zip(test.paths, test.labels, test.defects, *scores.values(), strict=True)
        write_csv(folder.scores, ("path", "label", "defect", *scores), columns)
        write_report(
            folder.report,
            results=results,
            config=config.to_json(),
            environment=source.read_json(source.environment),
            training=source.read_metrics(),
            labels=test.labels,
            scores=scores,
            states=(method.start, *(f"iteration {number}" for number in method.traced[1:])),
            cases=cases,
        )
        _picture(cases).save(folder.cases)
        write_json(folder.results, results)
    except OSError as error:
        raise InputError(f"{folder.path}: cannot be written to ({error.strerror})") from error
    return results


def _cases(
    method: Method,
    state: State,
    calibration: Calibration,
    test: Split,
    maps: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
) -> list[Case]:
    """The report's images with every state of the loop, traced as one batch."""
    chosen = choose_cases(test.labels, scores[REPORTED_SCORE], count=NUM_CASES)
    indices = np.array([index for index, _ in chosen])
    traced = method.trace(state, calibration, to_float(jnp.asarray(test.images[indices])))
    reconstructions = np.asarray(to_uint8(traced.images))
    masks = np.asarray(traced.masks[..., 0] > 0)
    return [
        Case(
            path=test.paths[index],
            defect=test.defects[index],
            label=int(test.labels[index]),
            group=group,
            scores={kind: float(values[index]) for kind, values in scores.items()},
            image=test.images[index],
            truth=test.masks[index] if test.annotated[index] else None,
            anomaly_map=maps[REPORTED_SCORE][index],
            reconstructions=reconstructions[position],
            masks=masks[position],
        )
        for position, (index, group) in enumerate(chosen)
    ]


def _picture(cases: list[Case]) -> Image.Image:
    """The cases side by side; from above: input, its defect outlined; anomaly map; last mask; last image."""
    vmax = max(float(case.anomaly_map.max()) for case in cases)
    truths = [np.zeros(case.image.shape[:2], bool) if case.truth is None else case.truth for case in cases]
    outlined = [
        img_as_ubyte(mark_boundaries(case.image, truth, color=(0, 1, 0), mode="inner"))
        for case, truth in zip(cases, truths, strict=True)
    ]
    rows = [
        np.stack(outlined),
        np.stack([overlay(case.image, case.anomaly_map, vmax=vmax) for case in cases]),
        np.stack([np.repeat(255 * case.masks[-1, ..., None].astype(np.uint8), 3, axis=-1) for case in cases]),
        np.stack([case.reconstructions[-1] for case in cases]),
    ]
    sheet = contact_sheet(rows)
    enlarged = max(1, MIN_SHOWN_SIDE // len(truths[0]))
    return sheet.resize((sheet.width * enlarged, sheet.height * enlarged), Image.Resampling.NEAREST)

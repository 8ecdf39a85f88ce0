"""Metrics of the service."""

import asyncio
import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from i3ad_jax.detector import Detector
from i3ad_jax.serve.batching import Batcher
from i3ad_jax.serve.monitoring import Monitoring
from tests.support.service import png


@pytest.fixture(scope="module")
def detector(pca_run: Path) -> Detector:
    return Detector.load(pca_run).with_rule(score="l2")


def samples(monitoring: Monitoring) -> dict[tuple[str, ...], float]:
    """Values by the name of the sample, then the values of its labels in their order by name."""
    families = text_string_to_metric_families(monitoring.text().decode())
    return {
        (each.name, *(each.labels[label] for label in sorted(each.labels))): each.value
        for family in families
        for each in family.samples
    }


def test_scores_of_usable_images_are_counted_between_deciles(
    detector: Detector, tiny_folder: Path
) -> None:
    monitoring = Monitoring(Batcher(detector, max_waiting=1), detector)
    images = [file.read_bytes() for file in sorted(tiny_folder.glob("test/*/*.png"))]
    found = list(detector.score([*images, png(0), png(1), png(2, (40, 90))]))
    unusable = [each.unusable.split(":")[0] for each in found if each.unusable is not None]
    assert 0 < len(unusable) < len(found)
    monitoring.count(found)
    counted = samples(monitoring)

    usable = np.array([each.score for each in found if each.unusable is None])
    calibrated = detector.calibration.held_out_scores["l2"]
    bounds = {*np.percentile(calibrated, range(0, 101, 10)).tolist(), detector.rule.threshold}
    buckets = {
        float(labels[0]): value
        for (name, *labels), value in counted.items()
        if name == "i3ad_image_score_bucket"
    }
    assert sorted(buckets) == pytest.approx([*sorted(bounds), math.inf])
    for bound, count in buckets.items():
        assert count == (usable <= bound).sum()
    assert counted["i3ad_image_score_sum", "l2"] == pytest.approx(usable.sum())

    above = int((usable > detector.rule.threshold).sum())
    assert counted["i3ad_images_total", "True"] == above
    assert counted.get(("i3ad_images_total", "False"), 0) == len(usable) - above
    assert counted["i3ad_images_total", "unusable"] == len(unusable)
    for reason in unusable:
        assert counted["i3ad_unusable_images_total", reason] == unusable.count(reason)


def test_queue_depth_is_the_number_of_images_that_wait(detector: Detector) -> None:
    async def depths() -> list[float]:
        batcher = Batcher(detector, max_waiting=3)
        monitoring = Monitoring(batcher, detector)

        def depth() -> float:
            return samples(monitoring)[("i3ad_waiting_images",)]

        found = [depth()]
        waiting = asyncio.create_task(batcher.score([png(0), png(1), png(2)]))
        await asyncio.sleep(0)
        found.append(depth())
        worker = asyncio.create_task(batcher.work())
        await waiting
        found.append(depth())
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
        return found

    assert asyncio.run(depths()) == [0, 3, 0]

"""Images of many requests through one detector."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from i3ad_jax.data.inputs import Broken
from i3ad_jax.detector import Detector
from i3ad_jax.prediction import Prediction
from i3ad_jax.serve.batching import Batcher, OverloadedError
from tests.support.service import png


@pytest.fixture(scope="module")
def detector(pca_run: Path) -> Detector:
    return Detector.load(pca_run)


def test_each_request_gets_its_own_answers(detector: Detector) -> None:
    requests = [[png(0), png(1)], [b"no image"], [png(2)]]

    async def score() -> Any:
        batcher = Batcher(detector, max_waiting=4)
        waiting = [asyncio.create_task(batcher.score(images)) for images in requests]
        await asyncio.sleep(0)
        assert batcher.waiting == 4
        with pytest.raises(OverloadedError):
            await batcher.score([png(3)])
        worker = asyncio.create_task(batcher.work())
        found = await asyncio.gather(*waiting)
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker
        return found

    found = asyncio.run(score())
    assert [[type(own) for own in request] for request in found] == [
        [Prediction, Prediction],
        [Broken],
        [Prediction],
    ]
    images = [png(0), png(1), png(2)]
    expected = [own.scores for own in detector.score(images)]
    assert [own.scores for own in (*found[0], *found[2])] == expected

"""Images of many requests through the detector together."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from i3ad_jax.data.inputs import Broken
from i3ad_jax.detector import Detector
from i3ad_jax.prediction import Prediction

Found = Prediction | Broken


class OverloadedError(Exception):
    """More images wait than may."""


class Batcher:
    """Scores images in one thread, as many at once as the detector's program takes.

    While the detector works on a batch, new images gather for the next one; an image never waits
    for others. Belongs to the event loop in which it is used.
    """

    def __init__(self, detector: Detector, *, max_waiting: int) -> None:
        self._detector = detector
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[bytes, asyncio.Future[Found]]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1)

    @property
    def waiting(self) -> int:
        """Number of images that wait."""
        return len(self._waiting)

    async def score(self, images: Sequence[bytes]) -> list[Found]:
        """Return the detector's results for the contents of image files, as `Detector.attempt`.

        Raises:
            OverloadedError: too many images wait already; none of these is scored.
        """
        if len(self._waiting) + len(images) > self._max_waiting:
            raise OverloadedError
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in images]
        self._waiting.extend(zip(images, futures, strict=True))
        self._arrived.set()
        return await asyncio.gather(*futures)

    async def work(self) -> None:
        """Scores what comes until it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while batch := self._next_batch():
                    images = [image for image, _ in batch]
                    try:
                        found = await loop.run_in_executor(self._thread, self._score, images)
                    except Exception as error:  # one batch's failure must not end the service
                        for _, future in batch:
                            if not future.done():
                                future.set_exception(error)
                        continue
                    for (_, future), result in zip(batch, found, strict=True):
                        if not future.done():
                            future.set_result(result)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _next_batch(self) -> list[tuple[bytes, asyncio.Future[Found]]]:
        """The oldest images that somebody still waits for."""
        batch: list[tuple[bytes, asyncio.Future[Found]]] = []
        while self._waiting and len(batch) < self._detector.chunk:
            image, future = self._waiting.popleft()
            if not future.done():
                batch.append((image, future))
        return batch

    def _score(self, images: list[bytes]) -> list[Found]:
        return list(self._detector.attempt(images))

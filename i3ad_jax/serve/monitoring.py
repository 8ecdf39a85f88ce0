"""Metrics of the service in Prometheus's text format."""

from collections.abc import Awaitable, Callable, Iterable

import numpy as np
import prometheus_client as prometheus
from fastapi import Request, Response

from i3ad_jax.detector import Detector
from i3ad_jax.prediction import Prediction
from i3ad_jax.serve.batching import Batcher

MEDIA_TYPE = prometheus.CONTENT_TYPE_LATEST
_PATHS = {"/", "/docs", "/score", "/health", "/metrics", "/openapi.json"}


class Monitoring:
    """Requests, images, their scores, unusable images and the queue.

    The bounds of the histogram of scores are deciles of the calibration scores, and the threshold:
    normal images without drift fill the buckets up to the highest decile evenly.
    """

    def __init__(self, batcher: Batcher, detector: Detector) -> None:
        rule = detector.rule
        calibrated = detector.calibration.held_out_scores[rule.score]
        deciles = np.quantile(calibrated, np.linspace(0, 1, 11))
        self._registry = prometheus.CollectorRegistry()
        own = {"registry": self._registry, "namespace": "i3ad"}
        self._requests = prometheus.Counter(
            "requests", "Requests answered.", ["path", "status"], **own
        )
        self._images = prometheus.Counter("images", "Images scored.", ["anomalous"], **own)
        self._unusable = prometheus.Counter(
            "unusable_images", "Unusable images, by the reason.", ["reason"], **own
        )
        self._scores = prometheus.Histogram(
            "image_score",
            "Score that decides, of usable images; bounds: calibration deciles, threshold.",
            ["score"],
            buckets=sorted({*map(float, deciles), float(rule.threshold)}),
            **own,
        ).labels(rule.score)
        self._seconds = prometheus.Histogram(
            "request_seconds", "Time to the answer.", ["path"], **own
        )
        prometheus.Gauge(
            "waiting_images", "Queue depth: images that wait for the detector.", **own
        ).set_function(lambda: batcher.waiting)

    async def __call__(
        self, request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Middleware that counts and times a request."""
        route = request.url.path if request.url.path in _PATHS else "other"
        with self._seconds.labels(route).time():
            response = await answer(request)
        self._requests.labels(route, response.status_code).inc()
        return response

    def count(self, predictions: Iterable[Prediction]) -> None:
        """Counts images that were scored."""
        for each in predictions:
            if each.unusable is None:
                self._images.labels(each.is_anomalous).inc()
                self._scores.observe(each.score)
            else:
                self._images.labels("unusable").inc()
                self._unusable.labels(each.unusable.partition(":")[0]).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format, `MEDIA_TYPE`."""
        return prometheus.generate_latest(self._registry)

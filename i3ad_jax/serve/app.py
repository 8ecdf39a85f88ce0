"""HTTP interface: scores and heat maps of uploaded images, health, metrics, and a test page.

No path or name from a client is ever opened: images are the bytes of the request.
"""

import asyncio
import hmac
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import prometheus_client as prometheus
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from PIL import Image
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from i3ad_jax import __version__
from i3ad_jax.calibration.verdict import Rule
from i3ad_jax.data.decoder import MAX_PIXELS
from i3ad_jax.data.images import read_size
from i3ad_jax.data.inputs import Broken
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.prediction import Prediction
from i3ad_jax.scoring.regions import Region
from i3ad_jax.serve.batching import Batcher, OverloadedError
from i3ad_jax.settings import Settings, setting

_FILE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {"images": {"type": "array", "items": _FILE}}}
_UPLOAD = {
    "required": True,
    "content": {"multipart/form-data": {"schema": _FORM}, "image/*": {"schema": _FILE}},
}
_PATHS = {"/", "/score", "/health", "/metrics", "/openapi.json"}
_PAGE_POLICY = (
    "default-src 'none'; img-src blob:; connect-src 'self'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'"
)


@dataclass(frozen=True)
class Limits(Settings):
    """What requests may cost."""

    max_megabytes: int = setting(32, minimum=1, maximum=4096)
    """Size of a request's body in units of 1,000,000 bytes."""
    max_megapixels: int = setting(25, minimum=1, maximum=MAX_PIXELS // 1_000_000)
    """Size of an image in millions of pixels."""
    max_waiting: int = setting(256, minimum=1, maximum=1_000_000)
    """Images that may wait for the detector; beyond, requests are answered by 503."""
    time_limit: float = setting(30.0, above=0, maximum=86_400)
    """Seconds for a request's body to arrive, and again for its answer."""


class ImageResult(BaseModel):
    """Result for an image."""

    name: str
    """The file name that the client gave, or the position in the request."""
    score: float
    """By the score that decides; higher is more anomalous."""
    anomalous: bool
    """Whether the score is above the threshold."""
    scores: dict[str, float]
    """All scores by name."""
    regions: list[Region] | None
    """Regions of the defects, the highest peak first; null for a run without a pixel threshold."""


class Results(BaseModel):
    """Scores of the images of a request, in order."""

    score: str
    """The name of the score that decides."""
    threshold: float
    """An image counts as anomalous above it."""
    images: list[ImageResult]


class BoundedBodies:
    """ASGI middleware that ends a request whose body grows too large, whatever length it states."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes messages on and counts their bytes."""
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise HTTPException(413, f"the body has more than {self.max_bytes:,} bytes")
            return message

        await self.app(scope, counted, send)


class Monitoring:
    """The service's counters, in Prometheus's format."""

    def __init__(self, batcher: Batcher) -> None:
        self.registry = prometheus.CollectorRegistry()
        own = {"registry": self.registry, "namespace": "i3ad"}
        self.requests = prometheus.Counter(
            "requests", "Requests answered.", ["path", "status"], **own
        )
        self.images = prometheus.Counter("images", "Images scored.", ["anomalous"], **own)
        self.seconds = prometheus.Histogram(
            "request_seconds", "Time to the answer.", ["path"], **own
        )
        prometheus.Gauge("waiting_images", "Images that wait.", **own).set_function(
            lambda: batcher.waiting
        )

    async def __call__(
        self, request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Middleware that counts and times a request."""
        route = request.url.path if request.url.path in _PATHS else "other"
        with self.seconds.labels(route).time():
            response = await answer(request)
        self.requests.labels(route, response.status_code).inc()
        return response


def create_app(detector: Detector, *, limits: Limits, token: str | None = None) -> FastAPI:
    """The service of a detector.

    Args:
        detector: that scores.
        limits: of each request.
        token: what `Authorization: Bearer TOKEN` must give, if any, but for the page and /health.
    """
    batcher = Batcher(detector, max_waiting=limits.max_waiting)
    monitoring = Monitoring(batcher)
    html = files("i3ad_jax.serve").joinpath("page.html").read_text(encoding="utf-8")
    app = _without_routes(detector, batcher, monitoring, limits)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": _PAGE_POLICY})

    @app.get("/health")
    async def health() -> dict[str, str]:
        """That the service answers, and what it runs."""
        return {"status": "ok", "version": __version__, "method": detector.config.method}

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Counters in Prometheus's format."""
        _check_token(request, token)
        return Response(
            prometheus.generate_latest(monitoring.registry),
            media_type=prometheus.CONTENT_TYPE_LATEST,
        )

    @app.post(
        "/score",
        response_model=Results,
        openapi_extra={"requestBody": _UPLOAD},
        responses={200: {"content": {"image/png": {}}}},
    )
    async def score(
        request: Request, output: Literal["json", "heatmap"] = "json"
    ) -> Results | Response:
        """Scores images: one as the body of the request, or several as files of a form.

        `output=heatmap` gives a PNG of the only image under the heat map of the score that decides.
        """
        _check_token(request, token)
        images = await _receive(request, limits)
        if output == "heatmap" and len(images) != 1:
            raise HTTPException(422, "a heat map is of one image")
        predictions = await _score(batcher, images, limits)
        for each in predictions:
            monitoring.images.labels(each.is_anomalous).inc()
        if output == "heatmap":
            picture = await asyncio.to_thread(_heat_map, predictions[0])
            return Response(picture, media_type="image/png")
        return await asyncio.to_thread(
            _results, [name for name, _ in images], predictions, detector.rule
        )

    return app


def _without_routes(
    detector: Detector, batcher: Batcher, monitoring: Monitoring, limits: Limits
) -> FastAPI:
    """Return an application without routes, which bounds and counts requests and runs `batcher`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(batcher.work())
        # Compiles the program before the first client comes.
        await batcher.score([_blank(detector)])
        yield
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    # Their pages of documentation load scripts from elsewhere.
    app = FastAPI(
        title="i3ad_jax", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.add_middleware(BoundedBodies, max_bytes=1_000_000 * limits.max_megabytes)
    app.middleware("http")(monitoring)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)

    return app


def _check_token(request: Request, token: str | None) -> None:
    """Raise HTTPException 401 unless the request gives the token, if there is one."""
    given = request.headers.get("authorization", "")
    if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise HTTPException(401, "needs the header Authorization: Bearer TOKEN")


async def _receive(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    """Name and content of each uploaded image, in time and of a bearable size."""
    try:
        async with asyncio.timeout(limits.time_limit):
            images = await _uploads(request, limits)
    except TimeoutError:
        raise HTTPException(408, "the body took too long to arrive") from None
    for name, content in images:
        _check(name, content, limits)
    return images


async def _score(
    batcher: Batcher, images: list[tuple[str, bytes]], limits: Limits
) -> list[Prediction]:
    """What the detector says of the images, in time; of none of them if one cannot be used."""
    try:
        async with asyncio.timeout(limits.time_limit):
            found = await batcher.score([content for _, content in images])
    except (OverloadedError, TimeoutError):
        raise HTTPException(503, "too many images wait; try again", {"Retry-After": "1"}) from None
    predictions = []
    for (name, _), each in zip(images, found, strict=True):
        if isinstance(each, Broken):
            raise HTTPException(422, each.problem.replace(f"image {each.name}", name, 1))
        predictions.append(each)
    return predictions


async def _uploads(request: Request, limits: Limits) -> list[tuple[str, bytes]]:
    """Name and content of each uploaded image."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=limits.max_waiting, max_fields=0) as form:
            uploads = [each for each in form.getlist("images") if isinstance(each, UploadFile)]
            images = [(_name(upload, i), await upload.read()) for i, upload in enumerate(uploads)]
    else:
        images = [("0", await request.body())]
    if not images:
        raise HTTPException(422, "no files in the form's field images")
    return images


def _name(upload: UploadFile, position: int) -> str:
    """What answers call an image: nothing else is made of a client's file name."""
    return " ".join((upload.filename or "").split()) or str(position)


def _check(name: str, content: bytes, limits: Limits) -> None:
    """Refuses what is no image, or too large a one, before it waits."""
    try:
        height, width = read_size(content, name=name)
    except InputError as error:
        raise HTTPException(422, str(error)) from None
    if height * width > 1_000_000 * limits.max_megapixels:
        raise HTTPException(413, f"{name}: more than {limits.max_megapixels} million pixels")


def _results(names: list[str], predictions: list[Prediction], rule: Rule) -> Results:
    images = [
        ImageResult(
            name=name,
            score=each.score,
            anomalous=each.is_anomalous,
            scores=dict(each.scores),
            regions=None if rule.pixel_threshold is None else each.regions,
        )
        for name, each in zip(names, predictions, strict=True)
    ]
    return Results(score=rule.score, threshold=rule.threshold, images=images)


def _heat_map(prediction: Prediction) -> bytes:
    return _png(Image.fromarray(prediction.heat_map))


def _blank(detector: Detector) -> bytes:
    height, width = detector.preprocessing.size
    return _png(Image.new("RGB", (width, height)))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=1)
    return buffer.getvalue()

"""HTTP interface: scores and heat maps of uploaded images, health, metrics, and pages.

No path or name from a client is ever opened: images are the bytes of the request.
"""

import asyncio
import hmac
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from PIL import Image
from pydantic import BaseModel, ConfigDict
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from i3ad_jax import __version__
from i3ad_jax.calibration.verdict import Rule
from i3ad_jax.data.inputs import Broken
from i3ad_jax.detector import Detector
from i3ad_jax.errors import OutOfMemoryError
from i3ad_jax.pictures import outline
from i3ad_jax.prediction import Prediction
from i3ad_jax.scoring.maps import SCORES
from i3ad_jax.scoring.regions import Region
from i3ad_jax.serve.batching import Batcher, OverloadedError
from i3ad_jax.serve.monitoring import MEDIA_TYPE, Monitoring
from i3ad_jax.serve.pages import DOCUMENTATION_POLICY, PAGE_POLICY, documentation, upload_page
from i3ad_jax.serve.uploads import FIELD, HOW, Limits, Upload, receive

_FILE = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {FIELD: {"type": "array", "items": _FILE}}}
_UPLOAD = {
    "required": True,
    "content": {"multipart/form-data": {"schema": _FORM}, "image/*": {"schema": _FILE}},
}
_REFUSALS = {
    400: "A form that is cut off, has no boundary or cannot be read.",
    401: "The token is missing or wrong.",
    408: "The body took too long to arrive.",
    413: "The body or an image is too large.",
    422: "A file is not an image that can be used, there is no file, or an option is wrong.",
    503: "Too many images wait; try again after the seconds of the header Retry-After.",
}


class _Answer(BaseModel):
    """Part of an answer; the docstrings of its fields are their descriptions in the schema."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ImageResult(_Answer):
    """Result for an image."""

    name: str
    """The file name that the client gave, or the position in the request."""
    width: int
    """Pixels in a row of the image."""
    height: int
    """Pixels in a column of the image."""
    score: float
    """Anomaly score that decides; higher is more anomalous."""
    anomalous: bool | None
    """True if the score is above the threshold; null for an unusable picture."""
    unusable: str | None
    """Reason why it says nothing about the part, such as a failed lamp; null if it is usable."""
    scores: dict[str, float]
    """All scores by name."""
    regions: list[Region] | None
    """Regions of the defects, the highest peak first; null for a run without a pixel threshold."""
    outline: str | None
    """SVG path around all regions, in pixels of the image; null without outlines=true, or regions
    that are null."""


class Results(_Answer):
    """Scores of the images of a request, in order."""

    score: str
    """The name of the score that decides."""
    threshold: float
    """An image counts as anomalous above it."""
    pixel_threshold: float | None
    """Pixels are part of a region above it; null for a run without."""
    heat_limit: float
    """The map's value of the hottest colour of heat maps."""
    images: list[ImageResult]
    """Results in the order of the request."""


class Health(_Answer):
    """Status of the service."""

    status: Literal["ok"]
    """The service answers."""
    version: str
    """Version of i3ad_jax."""
    method: str
    """Method of the run."""
    token: bool
    """True if requests must send a token."""


class Problem(_Answer):
    """Answer to a request that is refused."""

    detail: str
    """One sentence: what is wrong, and what to send."""


class UsualRequests:
    """ASGI middleware that treats HEAD as GET, and a path with a slash at its end as one without.

    The server itself leaves the body out of its answer to HEAD.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http":
            path = scope["path"]
            scope = {
                **scope,
                "method": "GET" if scope["method"] == "HEAD" else scope["method"],
                "path": path[:-1] if path.endswith("/") and path != "/" else path,
            }
        await self.app(scope, receive, send)


class BoundedBodies:
    """ASGI middleware that refuses a body that is stated to be too large, or grows too large."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes messages on and counts their bytes."""
        stated = int(Headers(raw=scope.get("headers", [])).get("content-length", 0))
        received = 0

        def check(size: int) -> None:
            if size > self.max_bytes:
                raise HTTPException(413, f"the body has more than {self.max_bytes:,} bytes")

        async def counted() -> Message:
            nonlocal received
            check(stated)  # before a client that waits for "100 Continue" is told to send
            message = await receive()
            received += len(message.get("body", b""))
            check(received)
            return message

        await self.app(scope, counted, send)


def create_app(detector: Detector, *, limits: Limits, token: str | None = None) -> FastAPI:
    """The service of a detector.

    Args:
        detector: detector that scores.
        limits: of each request.
        token: secret that `Authorization: Bearer TOKEN` must give, if any, except for pages, the
            schema and /health.
    """
    batcher = Batcher(detector, max_waiting=limits.max_waiting)
    monitoring = Monitoring(batcher, detector)
    html = upload_page()
    app = _without_routes(detector, batcher, monitoring, limits)
    # Declares the token in the schema; `_check_token` checks it.
    secured = [] if token is None else [Depends(HTTPBearer(auto_error=False))]

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": PAGE_POLICY})

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        text = documentation(app.openapi(), url=str(request.base_url).rstrip("/"))
        return HTMLResponse(text, headers={"Content-Security-Policy": DOCUMENTATION_POLICY})

    @app.get("/health")
    async def health() -> Health:
        """Answer with the status of the service, its version and method."""
        method = detector.config.method
        return Health(status="ok", version=__version__, method=method, token=token is not None)

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        dependencies=secured,
        responses=_refusals(401) if secured else {},
    )
    async def metrics(request: Request) -> Response:
        """Metrics in Prometheus's text format."""
        _check_token(request, token)
        return Response(monitoring.text(), media_type=MEDIA_TYPE)

    @app.post(
        "/score",
        response_model=Results,
        dependencies=secured,
        openapi_extra={"requestBody": _UPLOAD},
        responses={200: {"content": {"image/png": {}}}, **_refusals(*_REFUSALS)},
    )
    async def score(
        request: Request, output: Literal["json", "heatmap"] = "json", outlines: bool = False
    ) -> Results | Response:
        """Scores images: one as the body of the request, or all files of a form.

        `output=heatmap` gives a PNG of the only image under the heat map of the score that decides.
        `outlines=true` adds the outline of the regions to each result.
        """
        _check_token(request, token)
        uploads = await receive(request, limits)
        if output == "heatmap" and len(uploads) != 1:
            raise HTTPException(422, f"output=heatmap: takes one image, not {len(uploads)}")
        predictions = await _score(batcher, uploads, limits)
        monitoring.count(predictions)
        if output == "heatmap":
            picture = await asyncio.to_thread(_heat_map, predictions[0])
            return Response(picture, media_type="image/png")
        names = [upload.name for upload in uploads]
        return await asyncio.to_thread(
            _results, names, predictions, detector.rule, outlines=outlines
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
    app.add_middleware(UsualRequests)
    _explain_refusals(app)
    return app


def _explain_refusals(app: FastAPI) -> None:
    """Have the refusals that the framework makes say what to do, in one sentence each."""

    @app.exception_handler(404)
    async def nothing(_: Request, __: HTTPException) -> Response:
        return _refusal(404, "nothing at this path; POST images to /score, or open / in a browser")

    @app.exception_handler(405)
    async def other_method(request: Request, error: HTTPException) -> Response:
        taken = (error.headers or {})["Allow"].replace("GET", "GET, HEAD") + ", OPTIONS"
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={"Allow": taken})
        path = request.url.path
        problem = f"{path} takes {taken}, not {request.method}"
        return _refusal(405, f"{problem}; {HOW}" if path == "/score" else problem, Allow=taken)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return _refusal(
            422, "; ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors())
        )

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the schema of answers that refuse a request."""
    return {each: {"model": Problem, "description": _REFUSALS[each]} for each in statuses}


def _refusal(status: int, detail: str, **headers: str) -> Response:
    return JSONResponse(Problem(detail=detail).model_dump(), status, headers)


def _check_token(request: Request, token: str | None) -> None:
    """Raise HTTPException 401 unless the request gives the token, if there is one."""
    # Starlette decodes headers from Latin-1, so that these are the bytes that came.
    given = request.headers.get("authorization", "").encode("latin-1")
    scheme, _, secret = given.partition(b" ")
    if token is not None and not (
        scheme.lower() == b"bearer" and hmac.compare_digest(secret.strip(), token.encode())
    ):
        raise HTTPException(
            401, "needs the header Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
        )


async def _score(batcher: Batcher, uploads: list[Upload], limits: Limits) -> list[Prediction]:
    """Return the detector's results for the images, in time; for none if one cannot be used."""
    try:
        async with asyncio.timeout(limits.time_limit):
            found = await batcher.score([upload.content for upload in uploads])
    except (OverloadedError, TimeoutError):
        raise HTTPException(503, "too many images wait; try again", {"Retry-After": "1"}) from None
    except OutOfMemoryError as error:
        raise HTTPException(503, str(error)) from None
    predictions = []
    for upload, each in zip(uploads, found, strict=True):
        if isinstance(each, Broken):
            raise HTTPException(422, each.problem.replace(f"image {each.name}", upload.called, 1))
        predictions.append(each)
    return predictions


def _results(
    names: list[str], predictions: list[Prediction], rule: Rule, *, outlines: bool
) -> Results:
    limit = rule.pixel_threshold
    images = []
    for name, each in zip(names, predictions, strict=True):
        height, width = each.original_size
        images.append(
            ImageResult(
                name=name,
                width=width,
                height=height,
                score=each.score,
                anomalous=each.is_anomalous,
                unusable=each.unusable,
                scores=dict(each.scores),
                regions=None if limit is None else each.regions,
                outline=None if limit is None or not outlines else _outline(each, limit),
            )
        )
    return Results(
        score=rule.score,
        threshold=rule.threshold,
        pixel_threshold=limit,
        heat_limit=SCORES[rule.score].heat_limit,
        images=images,
    )


def _outline(prediction: Prediction, pixel_threshold: float) -> str:
    return outline(prediction.map > pixel_threshold) if prediction.regions else ""


def _heat_map(prediction: Prediction) -> bytes:
    return _png(Image.fromarray(prediction.heat_map))


def _blank(detector: Detector) -> bytes:
    height, width = detector.preprocessing.size
    return _png(Image.new("RGB", (width, height)))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "png", compress_level=1)
    return buffer.getvalue()

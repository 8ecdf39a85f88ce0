"""Images of a request: its body, or the files of its form."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from i3ad_jax.data.decoder import MAX_PIXELS
from i3ad_jax.data.images import read_size
from i3ad_jax.errors import InputError
from i3ad_jax.settings import Settings, setting

HOW = (
    "send one image as the body (curl --data-binary @a.png)"
    " or images as files of a form (curl -F images=@a.png -F images=@b.png)"
)
FIELD = "images"
MAX_TEXTS = 100
MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Limits(Settings):
    """Limits of requests."""

    max_megabytes: int = setting(32, minimum=1, maximum=4096)
    """Size of a request's body in units of 1,000,000 bytes."""
    max_megapixels: int = setting(25, minimum=1, maximum=MAX_PIXELS // 1_000_000)
    """Size of an image in millions of pixels."""
    max_waiting: int = setting(256, minimum=1, maximum=1_000_000)
    """Images that may wait for the detector; beyond, requests are answered by 503."""
    time_limit: float = setting(30.0, above=0, maximum=86_400)
    """Seconds for a request's body to arrive, and again for its answer."""


@dataclass(frozen=True)
class Upload:
    """Image file of a request."""

    name: str
    """Name in answers: the file name that the client gave, or the position in the request."""
    content: bytes
    """Bytes of the file."""
    is_body: bool = False
    """True if it is the whole body of the request."""

    @property
    def called(self) -> str:
        """Name in error messages."""
        return "the body" if self.is_body else self.name


class _Form(MultiPartParser):
    """Parser of a form that refuses one that is cut off, which Starlette accepts.

    It is refused in the midst of parsing: Starlette then closes the files of all its parts.
    """

    is_complete = False

    def __init__(self, request: Request, **limits: int) -> None:
        super().__init__(request.headers, self._whole(request.stream()), **limits)

    async def _whole(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of a body, each parsed before the next; refuse a form without an end."""
        async with aclosing(stream):
            async for chunk in stream:
                yield chunk
        if not self.is_complete:
            raise HTTPException(400, f"the form ends before its closing boundary; {HOW}")

    def on_end(self) -> None:
        """Notes the closing boundary."""
        self.is_complete = True


async def receive(request: Request, limits: Limits) -> list[Upload]:
    """Return the images of a request in their order, at least one.

    All files of a form count, whatever their fields are called; its texts are ignored.

    Args:
        request: request with an unread body.
        limits: of the time, the number of files and the pixels of each.

    Raises:
        HTTPException: the request has no image, or something else than images, is cut off,
            exceeds a limit, or arrives too slowly. No part of it is used.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(limits.time_limit):
            if kind == "multipart/form-data":
                uploads = await _read_form(request, max_files=limits.max_waiting)
            else:
                uploads = [Upload("0", await request.body(), is_body=True)]
    except TimeoutError:
        raise HTTPException(408, "the body took too long to arrive") from None
    for upload in uploads:
        _check(upload, limits)
    return uploads


async def _read_form(request: Request, *, max_files: int) -> list[Upload]:
    """Return all files of a form."""
    parser = _Form(request, max_files=max_files, max_fields=MAX_TEXTS, max_part_size=MAX_TEXT_BYTES)
    async with aclosing(parser.stream):
        try:
            form = await parser.parse()
        except MultiPartException as error:
            problem = error.message.rstrip(".")
            raise HTTPException(400, f"the form cannot be read ({problem}); {HOW}") from None
    try:
        return await _read_files(form)
    finally:
        await form.close()


async def _read_files(form: FormData) -> list[Upload]:
    fields, uploads = {FIELD}, []
    for field, part in form.multi_items():
        if isinstance(part, UploadFile):
            fields.add(field)
            content = await part.read()
            if part.filename or content:  # else a browser's file input without a choice
                uploads.append(Upload(_name(part, len(uploads)), content))
    for field, part in form.multi_items():
        # The zero byte is in every image, and in no text.
        if isinstance(part, str) and (field in fields or "\0" in part):
            raise HTTPException(422, f"the form's field {field} is text, not a file; {HOW}")
    if not uploads:
        raise HTTPException(422, f"the form has no files; {HOW}")
    return uploads


def _name(part: UploadFile, position: int) -> str:
    """Return what answers call an image, the only use of a client's file name."""
    return " ".join((part.filename or "").split()) or str(position)


def _check(upload: Upload, limits: Limits) -> None:
    """Refuse a file that is not an image, or too large a one, before it waits."""
    if not upload.content:
        raise HTTPException(422, f"{upload.called}: empty; {HOW}")
    try:
        height, width = read_size(upload.content, name=upload.called)
    except InputError as error:
        raise HTTPException(422, f"{error}; {HOW}" if upload.is_body else str(error)) from None
    if height * width > 1_000_000 * limits.max_megapixels:
        raise HTTPException(
            413, f"{upload.called}: more than {limits.max_megapixels} million pixels"
        )

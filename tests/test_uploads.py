"""Images of a request: its body, or the files of its form, on a real server on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from i3ad_jax.detector import Detector
from i3ad_jax.serve.uploads import MAX_TEXT_BYTES, MAX_TEXTS
from tests.support.service import LIMITS, Answer, ask, form, png, serving

A, B = png(1), png(2)


@pytest.fixture(scope="module")
def port(pca_run: Path) -> Iterator[int]:
    with serving(Detector.load(pca_run), LIMITS) as port:
        yield port


def parts(*given: tuple[str, bytes], end: bytes = b"--x--\r\n") -> bytes:
    """A form of parts: parameters of the disposition, and content."""
    return (
        b"".join(
            b"--x\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (what.encode(), content)
            for what, content in given
        )
        + end
    )


def post(port: int, body: bytes, kind: str = "multipart/form-data; boundary=x") -> Answer:
    return ask(port, "POST", "/score", body, Content_Type=kind)


def image(name: str, field: str = "images") -> str:
    return f'name="{field}"; filename="{name}"'


FORMS = {
    "two images and a text": (
        parts((image("a.png"), A), (image("b.png"), B), ('name="note"', b"x")),
        ["a.png", "b.png"],
    ),
    "many texts": (
        parts((image("a.png"), A), *[('name="t"', b"x" * MAX_TEXT_BYTES)] * 5),
        ["a.png"],
    ),
    "another field": (form([("a.png", A), ("b.png", B)], "file"), ["a.png", "b.png"]),
    "the field of PHP": (form([("a.png", A)], "images[]"), ["a.png"]),
    "several fields": (
        parts((image("a.png", "first"), A), (image("b.png"), B), (image("c.png", "third"), A)),
        ["a.png", "b.png", "c.png"],
    ),
    "no file name": (parts((image("a.png"), A), (image(""), B)), ["a.png", "1"]),
    "one name twice": (parts((image("a.png"), A), (image("a.png"), B)), ["a.png", "a.png"]),
    "a file input without a choice": (parts((image(""), b""), (image("b.png"), B)), ["b.png"]),
    "capitals": ((form([("a.png", A)])[0], ""), ["a.png"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_all_files_of_a_form_are_scored_in_order(port: int, name: str) -> None:
    given, names = FORMS[name]
    body, kind = given if isinstance(given, tuple) else (given, "multipart/form-data; boundary=x")
    if not kind:
        kind = "Multipart/Form-Data; BOUNDARY=" + body[2:34].decode()
    status, found = post(port, body, kind)
    assert status == 200, found
    assert [each["name"] for each in found["images"]] == names
    alone = {each: post(port, each, "image/png")[1]["images"][0]["score"] for each in (A, B)}
    sent = [each for each in (A, B) if each in body]
    assert {round(each["score"], 5) for each in found["images"]} == {
        round(alone[each], 5) for each in sent
    }


REFUSED = {
    "a file without its @": (parts(('name="images"', b"a.png")), 422, "images is text"),
    "a file and one without its @": (
        parts((image("a.png", "file"), A), ('name="file"', b"b.png")),
        422,
        "file is text",
    ),
    "a file that came as a text": (
        parts((image("a.png"), A), ("name=\"other\"; filename*=UTF-8''%C3%A4.png", B)),
        422,
        "other is text",
    ),
    "something else than an image": (
        parts((image("a.png"), A), (image("b.csv", "table"), b"1,2")),
        422,
        "b.csv: not a PNG",
    ),
    "an empty file": (parts((image("a.png"), A), (image("b.png"), b"")), 422, "b.png: empty"),
    "no files": (parts(('name="note"', b"x")), 422, "no files"),
    "a long text": (
        parts((image("a.png"), A), ('name="t"', b"x" * (MAX_TEXT_BYTES + 1))),
        400,
        "64KB",
    ),
    "too many texts": (
        parts((image("a.png"), A), *[('name="t"', b"x")] * (MAX_TEXTS + 1)),
        400,
        "number of fields",
    ),
    "nothing": (b"", 400, "closing boundary"),
    "its last file cut off": (
        parts((image("a.png"), A), (image("b.png"), B))[:-60],
        400,
        "closing boundary",
    ),
    "its end cut off": (
        parts((image("a.png"), A), (image("b.png"), B), end=b"--x"),
        400,
        "closing",
    ),
    "a part without a name": (b"--x\r\nContent-Disposition: form-data\r\n\r\n", 400, "name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_is_scored_whole_or_refused_with_a_reason(port: int, name: str) -> None:
    body, expected, reason = REFUSED[name]
    status, found = post(port, body)
    assert status == expected
    assert reason in found["detail"]
    assert "\n" not in found["detail"]


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=y", "; boundary=" + "x" * 999])
def test_a_form_of_another_boundary_is_refused(port: int, boundary: str) -> None:
    status, found = post(port, parts((image("a.png"), A)), f"multipart/form-data{boundary}")
    assert status == 400
    assert "curl -F images=@a.png" in found["detail"]


def test_a_body_is_an_image_whatever_its_content_type(port: int) -> None:
    for kind in ("application/x-www-form-urlencoded", "application/json", "image/jpeg", "text/x"):
        status, found = post(port, A, kind)  # the first is what curl --data-binary says
        assert (status, len(found["images"])) == (200, 1)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "image/png"),
        (b'{"image": "iVBORw0KGgo="}', "application/json"),
        (b"image=a.png&x=1", "application/x-www-form-urlencoded"),
        (A.replace(b"\r", b"").replace(b"\n", b""), "application/x-www-form-urlencoded"),
        (parts((image("a.png"), A)), "multipart/mixed; boundary=x"),
    ],
)
def test_another_body_is_told_what_to_send(port: int, body: bytes, kind: str) -> None:
    status, found = post(port, body, kind)
    assert status == 422
    assert found["detail"].startswith("the body: ")
    assert "curl --data-binary @a.png" in found["detail"]

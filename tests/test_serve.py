"""A detector behind HTTP, on a real server on loopback."""

import io
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from fastapi.routing import APIRoute
from PIL import Image
from starlette.routing import Route

from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.pictures import overlay
from i3ad_jax.scoring.maps import SCORES
from i3ad_jax.serve import __main__ as serve
from i3ad_jax.serve.app import create_app
from i3ad_jax.serve.uploads import Limits
from tests.conftest import Fails
from tests.support.service import LIMITS, ask, exchange, form, png, serving


@pytest.fixture(scope="module")
def detector(pca_run: Path) -> Detector:
    return Detector.load(pca_run).with_rule(score="l2")


@pytest.fixture(scope="module")
def port(detector: Detector) -> Iterator[int]:
    with serving(detector, LIMITS) as port:
        yield port


def png_that_says(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_answers_are_the_detector_s(port: int, detector: Detector, tiny_folder: Path) -> None:
    images = [png(seed, (20 + seed, 40)) for seed in range(4)]
    images.append((tiny_folder / "test/good/0.png").read_bytes())
    body, kind = form([(f"{i}.png", image) for i, image in enumerate(images)])
    status, found = ask(port, "POST", "/score", body, Content_Type=kind)
    assert status == 200
    assert [answer["unusable"] is None for answer in found["images"]] == [*[False] * 4, True]
    assert (found["score"], found["threshold"]) == ("l2", detector.rule.threshold)
    for i, (answer, expected) in enumerate(
        zip(found["images"], detector.score(images), strict=True)
    ):
        assert answer["name"] == f"{i}.png"
        assert answer["scores"] == pytest.approx(expected.scores, rel=1e-5)
        assert answer["score"] == answer["scores"]["l2"]
        above = answer["score"] > detector.rule.threshold
        assert answer["anomalous"] == (above if expected.unusable is None else None)
        assert answer["unusable"] == expected.unusable
        assert answer["regions"] == [asdict(region) for region in expected.regions]
        assert (answer["height"], answer["width"]) == expected.original_size
        assert answer["outline"] is None
    assert found["pixel_threshold"] == detector.rule.pixel_threshold
    assert found["heat_limit"] == SCORES["l2"].heat_limit


def test_an_outline_is_around_the_pixels_of_the_regions(port: int, detector: Detector) -> None:
    image = png(1, (30, 50))
    status, found = ask(port, "POST", "/score?outlines=true", image)
    assert status == 200
    (expected,) = detector.score(image)
    assert expected.regions
    above = expected.map > detector.rule.pixel_threshold
    drawn = Image.new("L", (50, 30))
    edges = re.findall(r"M(\d+) (\d+)v(\d+)", found["images"][0]["outline"])
    for x, y, length in (map(int, edge) for edge in edges):  # an edge swaps all pixels right of it
        part = np.array(drawn)
        part[y : y + length, x:] ^= 255
        drawn = Image.fromarray(part)
    np.testing.assert_array_equal(np.asarray(drawn) > 0, above)


def test_a_heat_map_has_the_image_s_size(port: int, detector: Detector) -> None:
    status, content = ask(port, "POST", "/score?output=heatmap", png(1, (30, 50)))
    assert status == 200
    (expected,) = detector.score(png(1, (30, 50)))
    heat = overlay(
        expected.original, expected.anomaly_map(score="l2"), vmax=SCORES["l2"].heat_limit
    )
    np.testing.assert_allclose(np.asarray(Image.open(io.BytesIO(content))), heat, atol=1)


def test_many_clients_at_once_get_their_own_answers(port: int, detector: Detector) -> None:
    images = [png(seed) for seed in range(30)]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda image: ask(port, "POST", "/score", image), images))
    expected = [each.scores["l2"] for each in detector.score(images)]
    assert [found["images"][0]["score"] for _, found in answers] == pytest.approx(
        expected, rel=1e-5
    )


GOOD = png(0)
FORM = "multipart/form-data; boundary=x"
MALFORMED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "image/png"),
    "text": (b"hello", "image/png"),
    "half an image": (GOOD[: len(GOOD) // 2], "image/png"),
    "an image of 100 billion pixels": (png_that_says(400_000, 250_000), "image/png"),
    "an image of 2 million pixels": (png_that_says(2000, 1000), "image/png"),
    "an image without its pixels": (png_that_says(100, 100), "image/png"),
    "a body too large": (bytes(1_100_000), "image/png"),
    "a form without files": (b"--x--\r\n", FORM),
    "a form without boundary": (GOOD, "multipart/form-data"),
    "no form though it says so": (GOOD, FORM),
    "too many files": form([("a.png", b"1")] * 60),
    "one broken file of two": form([("a.png", GOOD), ("b.png", GOOD[:99])]),
    "a path for a name": form([("../../etc/passwd", b"")]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests_are_refused(port: int, name: str) -> None:
    body, kind = MALFORMED[name]
    status, found = ask(port, "POST", "/score", body, Content_Type=kind)
    assert 400 <= status < 500
    assert isinstance(found["detail"], str)
    assert "\n" not in found["detail"]
    assert ask(port, "POST", "/score", GOOD)[0] == 200


@pytest.mark.parametrize("seed", range(4))
def test_fuzzed_bodies_are_refused_or_scored(port: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(50):
        body = bytearray(GOOD)
        for place in rng.integers(0, len(body), rng.integers(1, 20)):
            body[place] = rng.integers(256)
        body = bytes(body[: rng.integers(0, len(body) + 1)])
        kind = rng.choice(["image/png", "multipart/form-data; boundary=\x01", "a/b"])
        status, _ = ask(port, "POST", "/score", body, Content_Type=kind)
        assert status == 200 or 400 <= status < 500
    assert ask(port, "GET", "/health")[0] == 200


def test_no_path_leads_to_a_file(port: int) -> None:
    for path in (
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/page.html",
        "/score/../x",
    ):
        assert ask(port, "GET", path)[0] in (404, 405)


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/metrics", "/openapi.json"])
def test_head_gives_the_headers_of_get(port: int, path: str) -> None:
    request = "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    heads = {}
    for method in ("GET", "HEAD"):
        head, _, body = exchange(port, (request % (method, path)).encode()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert (body == b"") == (method == "HEAD")
        lengths = re.sub(rb"content-length: \d+", b"", head) if path == "/metrics" else head
        heads[method] = re.sub(rb"date: [^\r]*", b"", lengths)
    assert heads["HEAD"] == heads["GET"]


def test_other_methods_are_told_which_there_are(port: int) -> None:
    request = "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for path, taken in (("/score", "POST, OPTIONS"), ("/health", "GET, HEAD, OPTIONS")):
        for method in {"GET", "POST", "PUT", "DELETE", "TRACE"} - set(taken.split(", ")):
            answer = exchange(port, (request % (method, path)).encode()).decode()
            assert answer.startswith("HTTP/1.1 405 ")
            assert f"\r\nallow: {taken}\r\n" in answer
            assert f'"{path} takes {taken}, not {method}' in answer
        options = exchange(port, (request % ("OPTIONS", path)).encode()).decode()
        assert options.startswith("HTTP/1.1 204 ")
        assert f"\r\nallow: {taken}\r\n" in options
    assert "--data-binary" in ask(port, "GET", "/score")[1]["detail"]


def test_slashes_and_queries_do_not_change_a_path(port: int) -> None:
    for path in ("/health/", "/health?probe=1", "/health/?probe=1", "/?x"):
        assert ask(port, "GET", path)[0] == 200
    assert ask(port, "POST", "/score/", GOOD)[0] == 200
    assert ask(port, "POST", "/score/?output=heatmap", GOOD)[0] == 200
    status, found = ask(port, "GET", "/scores")
    assert (status, "/score" in found["detail"]) == (404, True)


def test_a_wrong_output_is_one_sentence(port: int) -> None:
    for wrong in ("verse", "", "HEATMAP"):
        status, found = ask(port, "POST", f"/score?output={wrong}", GOOD)
        assert status == 422
        assert re.fullmatch(r"output: [^\n]*'json' or 'heatmap'", found["detail"])


def test_clients_may_speak_http_in_every_way(port: int) -> None:
    size = len(GOOD)
    post = b"POST /score HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    lengths = b"Content-Length: %d\r\n" % size
    continued = exchange(port, post + lengths + b"Expect: 100-continue\r\n\r\n" + GOOD)
    assert continued.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 200 " in continued
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (size, GOOD)
    chunked = exchange(port, post + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    old = exchange(port, b"POST /score HTTP/1.0\r\n" + lengths + b"\r\n" + GOOD)
    assert chunked.startswith(b"HTTP/1.1 200 ")
    assert old.startswith(b"HTTP/1.1 200 ")
    wrong = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
    both = exchange(port, wrong + post + lengths + b"\r\n" + GOOD)
    assert re.findall(rb"HTTP/1.1 (\d+) ", both) == [b"422", b"200"]


def test_a_body_stated_too_large_is_refused_before_it_is_sent(port: int) -> None:
    head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000001\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_slow_client_is_told_and_does_not_keep_others(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as slow:
        slow.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert ask(port, "POST", "/score", GOOD)[0] == 200
        assert b" 408 " in slow.recv(1000)


def test_a_client_that_leaves_costs_nothing(port: int) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as leaving:
            leaving.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    assert ask(port, "POST", "/score", GOOD)[0] == 200


def test_metrics_count_requests_and_images(port: int) -> None:
    def count(pattern: str) -> float:
        text = ask(port, "GET", "/metrics")[1].decode()
        return sum(
            float(found) for found in re.findall(rf"^{pattern} ([0-9.e+]+)$", text, re.MULTILINE)
        )

    images, answered = (
        r"i3ad_images_total\{[^}]*\}",
        r'i3ad_requests_total\{path="/score",status="200"\}',
    )
    before = count(images), count(answered)
    body, kind = form([("a.png", GOOD), ("b.png", GOOD)])
    ask(port, "POST", "/score", body, Content_Type=kind)
    assert (count(images), count(answered)) == (before[0] + 2, before[1] + 1)


def test_the_schema_has_the_routes_and_answers_of_the_service(
    port: int, detector: Detector
) -> None:
    schema = ask(port, "GET", "/openapi.json")[1]
    declared = {(method.upper(), path) for path, own in schema["paths"].items() for method in own}
    app = create_app(detector, limits=LIMITS)
    real = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route | APIRoute) and route.methods
        for method in route.methods - {"HEAD"}
    }
    pages = {("GET", path) for path in ("/", "/docs", "/openapi.json")}
    assert declared | pages == real
    assert not declared & pages
    models = schema["components"]["schemas"]
    for answer, model in (
        (ask(port, "POST", "/score?outlines=1", GOOD)[1], "Results"),
        (ask(port, "POST", "/score?outlines=1", GOOD)[1]["images"][0], "ImageResult"),
        (ask(port, "GET", "/health")[1], "Health"),
        (ask(port, "GET", "/score")[1], "Problem"),
    ):
        assert answer.keys() == models[model]["properties"].keys()
        assert all("description" in own for own in models[model]["properties"].values())


def test_a_token_is_asked_for(detector: Detector) -> None:
    with serving(detector, LIMITS, token="s3cret") as port:
        for path, method in (("/score", "POST"), ("/metrics", "GET")):
            status, found = ask(port, method, path, GOOD)
            assert (status, "Authorization: Bearer" in found["detail"]) == (401, True)
            assert ask(port, method, path, GOOD, Authorization="Bearer s3cre")[0] == 401
            assert ask(port, method, path, GOOD, Authorization="Bearer s3cret")[0] == 200
        for path in ("/", "/docs", "/openapi.json"):
            assert ask(port, "GET", path)[0] == 200
        assert ask(port, "GET", "/health")[1]["token"] is True
        schema = ask(port, "GET", "/openapi.json")[1]
        secured = {
            p for p, own in schema["paths"].items() for op in own.values() if "security" in op
        }
        assert secured == {"/score", "/metrics"}


def authorized(port: int, value: bytes) -> bytes:
    """The answer to a request with these bytes in its header Authorization."""
    return exchange(
        port,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: %b\r\n\r\n"
        % value,
    )


def test_a_token_is_read_as_http_defines_it(detector: Detector) -> None:
    with serving(detector, LIMITS, token="s3cret-é") as port:
        secret = "s3cret-é".encode()
        for right in (b"Bearer " + secret, b"bearer " + secret, b"BEARER   " + secret + b" "):
            assert authorized(port, right).startswith(b"HTTP/1.1 200 ")
        latin = "Bearer s3cret-é".encode("latin-1")
        for wrong in (b"Basic " + secret, secret, b"Bearer", b"", b"Bearer x " + secret, latin):
            answer = authorized(port, wrong)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"\r\nwww-authenticate: bearer\r\n" in answer.lower()


def test_a_token_is_asked_for_before_the_body_is_read(detector: Detector) -> None:
    head = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with (
        serving(detector, Limits(time_limit=600), token="secret") as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
    ):
        connection.sendall(head)  # and never a body
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_other_addresses_than_loopback_need_a_token(
    fails: Fails, pca_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("I3AD_TOKEN", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example"):
        assert "I3AD_TOKEN" in fails(serve.main, [pca_run, "--host", host])


def test_a_port_or_host_is_refused_before_the_run_is_loaded(
    fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("I3AD_TOKEN", "secret")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = fails(serve.main, [tmp_path / "no run", "--port", port])
    assert error.startswith(f"error: --port {port}: in use on 127.0.0.1; ")
    elsewhere = fails(serve.main, [tmp_path / "no run", "--host", "192.0.2.1"])
    assert elsewhere.startswith("error: --host 192.0.2.1: not an address of this machine; ")
    for host in ("no-such-host.invalid", "a..b", "x" * 300, "1.2.3.4.5"):
        unknown = fails(serve.main, [tmp_path / "no run", "--host", host])
        assert unknown.startswith(f"error: --host {host}: not found ")


FIRST_FREE = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@pytest.mark.skipif(
    not FIRST_FREE.exists() or int(FIRST_FREE.read_text()) < 2, reason="all ports need no privilege"
)
def test_a_port_that_needs_privileges_names_what_to_do() -> None:
    as_root = os.geteuid() == 0
    if as_root:
        os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"^--port 1: you may not listen .* above 1023"):
            serve.listen("127.0.0.1", 1)[0].close()
    finally:
        if as_root:
            os.seteuid(0)


def test_a_name_of_several_addresses_is_listened_on_at_one_port() -> None:
    sockets = serve.listen("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert all(each.getsockname()[1] > 0 for each in sockets)
    finally:
        for each in sockets:
            each.close()


def test_a_token_that_http_cannot_carry_is_refused(
    fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for token in (" secret", "secret\n", "s3cret-é", "a\tb"):
        monkeypatch.setenv("I3AD_TOKEN", token)
        assert fails(serve.main, [tmp_path]).startswith("error: I3AD_TOKEN: HTTP cannot carry it")


def test_a_process_says_where_it_listens_and_nothing_else_until_it_ends(pca_run: Path) -> None:
    command = [sys.executable, "-m", "i3ad_jax.serve", str(pca_run), "--port", "0"]
    environment = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        where = next(line for line in lines if line.startswith("Listening on "))
        found = re.fullmatch(r"Listening on http://127\.0\.0\.1:(\d+)\n", where)
        assert found is not None, where
        assert ask(int(found[1]), "POST", "/score", GOOD)[0] == 200
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=30)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_a_run_without_pixel_thresholds_has_no_regions() -> None:
    old = Detector.load(Path(__file__).parent / "formats/0")
    with serving(old, LIMITS) as port:
        status, found = ask(port, "POST", "/score", png(1))
    assert status == 200
    assert found["images"][0]["regions"] is None
    assert found["pixel_threshold"] is None

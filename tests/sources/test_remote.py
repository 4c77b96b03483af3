"""Servers: what they answer, what they do not, and what is never shown."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote

import pytest

from raypipe.errors import RaypipeError, RejectedItem, RejectReason
from raypipe.sources import buckets, read_item, remote
from raypipe.sources.remote import check_reachable
from raypipe.sources.servers import forget_failures, public
from raypipe.storage.objects import Patience
from tests.support.sources import CAP, contents, csv_of, served

IMAGE = b"\xff\xd8\xff" + bytes(100_000)


class Server(BaseHTTPRequestHandler):
    """Answers by path; counts what it is asked for."""

    asked: ClassVar[Counter[str]] = Counter()
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = unquote(self.path.partition("?")[0])
        self.asked[name] += 1
        status = 200
        if name.startswith("/status/"):
            status = int(name.rpartition("/")[2])
        elif name == "/flaky" and self.asked[name] < 3:
            status = 503
        elif name == "/wait" and self.asked[name] < 2:
            status = 429
        elif name.startswith("/loop"):
            status = 302
        self.send_response(status)
        if name == "/wait":
            self.send_header("Retry-After", "1")
        if name.startswith("/loop"):
            self.send_header("Location", "/loop")
        body = IMAGE if status == 200 else b""
        self.send_header("Content-Length", str(2**40 if name == "/huge" else len(body)))
        self.end_headers()
        if name == "/broken" and self.asked[name] < 3:
            body = body[:5000]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BACKOFF", 0.01)
    monkeypatch.setattr(buckets, "PATIENCE", Patience(tries=2, total=5))
    forget_failures()
    Server.asked.clear()


@pytest.fixture
def url() -> Iterator[str]:
    with served(Server) as url:
        yield url


@pytest.fixture
def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def rejected(uri: str) -> RejectedItem:
    with pytest.raises(RejectedItem) as found:
        read_item(uri, CAP)
    return found.value


@pytest.mark.parametrize("name", ["plain.jpg", "flaky", "wait", "broken", "a b/ä%25.jpg?x=1&y=[2]"])
def test_read(url: str, name: str) -> None:
    assert read_item(f"{url}/{name}", CAP) == IMAGE


@pytest.mark.parametrize("status", [400, 403, 404, 410, 451])
def test_refused(url: str, status: int) -> None:
    reject = rejected(f"{url}/status/{status}")
    assert reject.reason is RejectReason.UNREADABLE
    assert reject.message.startswith(f"{status} ")
    assert Server.asked.total() == 1


@pytest.mark.parametrize("status", [408, 429, 500, 501, 503])
def test_no_good_answer(url: str, status: int) -> None:
    reject = rejected(f"{url}/status/{status}")
    assert reject.reason is RejectReason.UNAVAILABLE
    assert Server.asked.total() == (1 if status == 501 else 1 + remote.RETRIES)


def test_nobody_answers(nobody: str) -> None:
    assert rejected(f"http://{nobody}/a.jpg").reason is RejectReason.UNAVAILABLE
    assert rejected("http://no-such-host.invalid/a.jpg").reason is RejectReason.UNAVAILABLE


def test_redirects_without_end(url: str) -> None:
    assert rejected(f"{url}/loop").reason is RejectReason.UNREADABLE


def test_no_url() -> None:
    assert rejected("http://[/a.jpg").reason is RejectReason.UNREADABLE


def test_too_large_before_it_is_fetched(url: str) -> None:
    assert rejected(f"{url}/huge").reason is RejectReason.TOO_LARGE


def test_server_that_is_down_is_not_waited_for_again_and_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        rejected(f"{url}/status/503")
    assert Server.asked.total() == 8 * (1 + remote.RETRIES) + 12
    assert read_item(f"{url}/ok.jpg", CAP) == IMAGE
    assert read_item(f"{url}/flaky", CAP) == IMAGE


def test_credentials_are_not_shown(url: str, nobody: str) -> None:
    secret = "http://me:hush@{}/status/404?sig=hush2&page=3#hush3"
    for host in (url.removeprefix("http://"), nobody):
        message = rejected(secret.format(host)).message
        assert "hush" not in message
        assert "me:" not in message
        assert f"{host}/status/404?sig=…&page=…" in message
    with pytest.raises(RaypipeError) as found:
        check_reachable([secret.format(nobody)])
    assert "hush" not in str(found.value)
    assert public("s3://key:hush@bucket/a.jpg") == "s3://bucket/a.jpg"


def test_many_threads(url: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda i: read_item(f"{url}/{i}.jpg", CAP), range(100)))
    assert found == [IMAGE] * 100


def test_reachable(url: str, nobody: str) -> None:
    gone = f"http://{nobody}/a.jpg"
    check_reachable([])
    check_reachable(["/a.jpg"])
    check_reachable([gone, f"{url}/status/404"])
    with pytest.raises(
        RaypipeError, match=f"SOURCE: http://{nobody} did not answer .*run the same"
    ):
        check_reachable([gone] * 100)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**keys, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        address = ":".join(map(str, server.get_host_and_port()))
        store = fs.S3FileSystem(
            endpoint_override=address, scheme="http", allow_bucket_creation=True
        )
        store.create_dir("photos")
        for name in ("a.jpg", "odd name?%20#ä.jpg"):
            with store.open_output_stream(f"photos/{name}") as file:
                file.write(IMAGE)
        yield address
        server.stop()


def test_s3(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = f"endpoint_override={s3}&scheme=http"
    uris = [f"s3://photos/{name}?{query}" for name in ("a.jpg", "odd name?%20#ä.jpg")]
    manifest = csv_of(tmp_path / "m.csv", [{"uri": uri} for uri in uris])
    assert contents(manifest) == dict.fromkeys(uris, IMAGE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3}")
    assert read_item("s3://photos/a.jpg", CAP) == IMAGE
    check_reachable(["s3://photos/a.jpg", "s3://photos/none.jpg"])


def test_s3_answers(s3: str, nobody: str) -> None:
    query = f"endpoint_override={s3}&scheme=http"
    assert rejected(f"s3://photos/none.jpg?{query}").reason is RejectReason.UNREADABLE
    reject = rejected(f"s3://no-such-bucket/a.jpg?{query}")
    assert reject.reason is RejectReason.UNREADABLE
    assert reject.message.startswith("404 Not Found: s3://no-such-bucket/a.jpg?")
    with pytest.raises(RejectedItem) as found:
        remote.read_remote(f"s3://photos/a.jpg?{query}", 1000)
    assert found.value.reason is RejectReason.TOO_LARGE
    gone = f"s3://key:hush@photos/a.jpg?endpoint_override={nobody}&scheme=http"
    reject = rejected(gone)
    assert reject.reason is RejectReason.UNAVAILABLE
    assert "no answer (no connection)" in reject.message
    assert "hush" not in reject.message
    with pytest.raises(RaypipeError, match="SOURCE: s3://photos did not answer"):
        check_reachable([gone])


class Storage(BaseHTTPRequestHandler):
    """The part of Google Cloud Storage that reading takes."""

    def do_GET(self) -> None:
        bucket, _, name = unquote(self.path.partition("?")[0]).removeprefix("/").partition("/")
        assert bucket == "photos"
        if name == "forbidden.jpg":
            return self.answer(403, b"")
        if name == "broken.jpg":
            return self.answer(503, b"")
        if name != "a b.jpg":
            return self.answer(404, b"")
        return self.answer(200, IMAGE)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 12:00:00 GMT")
        self.send_header("ETag", '"1"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_google_cloud_storage() -> None:
    with served(Storage) as url:
        query = f"endpoint_override={url.removeprefix('http://')}&scheme=http"
        home = "gs://anonymous@photos"
        assert read_item(f"{home}/a b.jpg?{query}", CAP) == IMAGE
        for name in ("none.jpg", "forbidden.jpg"):
            assert rejected(f"{home}/{name}?{query}").reason is RejectReason.UNREADABLE
        assert rejected(f"{home}/broken.jpg?{query}").reason is RejectReason.UNAVAILABLE


def test_nothing_is_waited_for_longer_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "READ_TIMEOUT", 0.05)
    monkeypatch.setattr(remote, "RETRIES", 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        reject = rejected(f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg")
    assert reject.reason is RejectReason.UNAVAILABLE
    assert time.monotonic() - started < 5
    assert "ReadTimeoutError" in reject.message


class Forwarder(BaseHTTPRequestHandler):
    """A proxy that answers itself, and notes what it is asked."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Proxy-Authorization")))
        self.send_response(200)
        self.send_header("Content-Length", str(len(IMAGE)))
        self.end_headers()
        self.wfile.write(IMAGE)

    def log_message(self, *_: object) -> None:
        pass


def test_a_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Forwarder) as proxy, served(Server) as direct:
        monkeypatch.setenv("http_proxy", proxy.replace("http://", "http://me:hush%21@"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        remote._proxy.cache_clear()
        try:
            assert read_item("http://images.invalid/a.jpg", CAP) == IMAGE
            assert read_item(f"{direct}/fine", CAP) == IMAGE
        finally:
            remote._proxy.cache_clear()
    assert Forwarder.asked == [("http://images.invalid/a.jpg", "Basic bWU6aHVzaCE=")]

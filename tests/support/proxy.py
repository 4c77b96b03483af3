"""A server between a client and another server, which can fail, dawdle and forget."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Fault", "Proxy", "proxied"]

#: What is done to a request: nothing (None), an HTTP status instead of passing it on, `late` (it is
#: passed on, but the answer is an error), `slow`, `blind` (passed on without its condition),
#: `reset` (the connection is), `cut` (its body ends in the middle) or `stuck` (it stops there).
Fault = int | str | None


class Proxy(ThreadingHTTPServer):
    """Passes requests on to `target`; `fault(method, path, number)` says what is done to each."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target: str, fault: Callable[[str, str, int], Fault]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.fault = target, fault
        self.seen: Counter[str] = Counter()
        self.number = 0
        self.ports: dict[int, int] = {}  # of those who ask, by the number of the request
        self.lock = threading.Lock()
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def proxied(
    target: str, fault: Callable[[str, str, int], Fault] = lambda *_: None
) -> Iterator[Proxy]:
    with Proxy(target, fault) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.number += 1
            number = self.server.number
            self.server.ports[number] = self.client_address[1]
            self.server.seen[self.command] += 1
        fault = self.server.fault(self.command, self.path, number)
        if isinstance(fault, int):
            self._answer(fault, {}, _error(fault))
            return
        if fault == "reset":
            self._reset()
            return
        if fault == "slow":
            time.sleep(0.3)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
        if fault == "blind":
            headers = {k: v for k, v in headers.items() if k.lower() != "if-none-match"}
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        connection.request(self.command, self.path, body, headers)
        found = connection.getresponse()
        data = found.read()
        connection.close()
        if fault == "late":
            self._answer(503, {}, _error(503))
        else:
            self._answer(found.status, dict(found.headers.items()), data, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

    def _reset(self) -> None:
        """Close the connection such that the other side is told of a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.rfile.close()
        self.connection.close()

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, fault: Fault = None
    ) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        dropped = ("content-length", "transfer-encoding", "connection")
        for name, value in headers.items():
            if name.lower() not in dropped:
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send(body, fault)

    def _send(self, body: bytes, fault: Fault) -> None:
        broken = fault in ("cut", "stuck") and bool(body)
        self.wfile.write(body[: len(body) // 2] if broken else body)
        if broken:
            self.close_connection = True
        if broken and fault == "stuck":
            self.server.over.wait(60)

    def log_message(self, *_: Any) -> None:
        pass


def _error(status: int) -> bytes:
    code = {400: "ExpiredToken", 403: "AccessDenied", 503: "SlowDown"}.get(status, "InternalError")
    return f"<Error><Code>{code}</Code><Message>hush</Message></Error>".encode()

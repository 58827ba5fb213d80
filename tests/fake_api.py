"""A server that answers like Hostler's HTTP API, with what a test lays out for it."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Answer:
    """One response with a known length."""

    body: bytes = b""
    status: int = 200
    type: str = "application/json"
    claims: int | None = None  # a Content-Length that is not true

    @classmethod
    def of(cls, document: object, status: int = 200) -> Answer:
        return cls(json.dumps(document).encode(), status)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]


class Stream:
    """A chunked response that the test writes, piece by piece."""

    def __init__(self, *chunks: bytes) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self.begun = threading.Event()
        self.broken = False
        for chunk in chunks:
            self.write(chunk)

    def write(self, data: bytes) -> None:
        self._queue.put(data)

    def end(self) -> None:
        """End it as a server does that has no more to say."""
        self._queue.put(None)

    def breaks(self) -> None:
        """End it in the middle."""
        self.broken = True
        self._queue.put(None)

    def chunks(self) -> Iterator[bytes]:
        self.begun.set()
        while (chunk := self._queue.get(timeout=20)) is not None:
            yield chunk


Route = Answer | Stream | Callable[[], Answer]


@dataclass
class FakeApi:
    """`api.routes["GET /running"] = Answer.of(...)`; what was asked is in `api.seen`."""

    url: str = ""
    routes: dict[str, Route] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        api = cast("_Server", self.server).api
        api.seen.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        route = api.routes.get(
            f"{self.command} {self.path}", Answer(b"404 page not found\n", 404, "text/plain")
        )
        with contextlib.suppress(OSError):  # the client left
            if isinstance(route, Stream):
                self._stream(route)
            else:
                self._send(route if isinstance(route, Answer) else route())

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(answer.body) if answer.claims is None else answer.claims))
        self.end_headers()
        self.wfile.write(answer.body)

    def _stream(self, stream: Stream) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in stream.chunks():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if not stream.broken:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: FakeApi


@contextlib.contextmanager
def serving() -> Iterator[FakeApi]:
    """A fake on a free port, for as long as the block runs."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.api = FakeApi(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server.api
        finally:
            for route in server.api.routes.values():
                if isinstance(route, Stream):
                    route.end()
            server.shutdown()
            thread.join()

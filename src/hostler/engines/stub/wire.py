"""HTTP/1.1 on asyncio streams: keep-alive, chunked bodies both ways, HEAD, a notice when a client goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from hostler.engines.stub.output import log

HEADER_LIMIT: Final = 64 * 1024
BODY_LIMIT: Final = 512 * 1024 * 1024  # above any upload a test sends; a runaway client ends here
READ_SIZE: Final = 64 * 1024
BODILESS: Final = (204, 304)


class WireError(Exception):
    """What came in is not HTTP we understand; the connection is closed after the answer."""


@dataclass(slots=True)
class Request:
    """One request with its whole body; header names are in lower case."""

    method: str
    path: str
    query: str
    version: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Response:
    """A status, headers, and a body: bytes, or pieces as they come."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""


@dataclass(slots=True)
class Takeover:
    """Instead of a response: somebody else talks on this connection from here on."""

    run: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Stats:
    """What the stub has seen: requests ever, requests being answered, clients that left in mid-answer."""

    requests: int = 0
    active: int = 0
    gone: int = 0


Handler = Callable[[Request], Awaitable[Response | Takeover]]


class Connection(asyncio.StreamReaderProtocol):
    """A stream protocol that cancels the answer in progress when the client goes away."""

    def __init__(self, handler: Handler, stats: Stats) -> None:
        super().__init__(asyncio.StreamReader(limit=HEADER_LIMIT), self._serve)
        self._handler = handler
        self._stats = stats
        self._answering: asyncio.Task[None] | None = None
        self._gone = False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._client_left()

    def eof_received(self) -> bool | None:
        self._client_left()
        return super().eof_received()

    def _client_left(self) -> None:
        self._gone = True
        if self._answering is not None:
            self._answering.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                while not self._gone:
                    request = await read_request(reader, writer)
                    if request is None or not await self._answer(request, reader, writer):
                        break
            except (WireError, asyncio.LimitOverrunError, ValueError) as wrong:
                bad = Response(400, {"connection": "close"}, f"{wrong}\n".encode())
                await send(writer, Request("GET", "/", "", "HTTP/1.1", {}), bad)
        writer.close()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; False when the connection is to be closed."""
        self._stats.requests += 1
        self._stats.active += 1
        self._answering = asyncio.current_task()
        log(f"request {request.method} {request.path}")
        try:
            response = await self._handler(request)
            if isinstance(response, Takeover):
                self._answering = None  # it notices the end of the connection itself
                await response.run(reader, writer)
                return False
            return await send(writer, request, response)
        except (OSError, asyncio.CancelledError):
            if not self._gone and not writer.is_closing():
                raise
            self._stats.gone += 1
            log("client gone")
            return False
        finally:
            self._answering = None
            self._stats.active -= 1


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request, or None when the client has no more; raises WireError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1")[:-4].split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise WireError(f"not an HTTP request: {first[:100]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise WireError(f"not a header: {line[:100]!r}")
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, _, query = parts[1].partition("?")
    request = Request(parts[0], path, query, parts[2], headers)
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.body = await read_body(reader, headers)
    return request


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """The whole body, by its length or its chunks; raises WireError."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await _exactly(reader, int(headers.get("content-length", "0")))
    pieces: list[bytes] = []
    total = 0
    while True:
        size = int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        total += size
        if total > BODY_LIMIT:
            raise WireError("the body is too large")
        if size == 0:
            break
        pieces.append(await _exactly(reader, size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return b"".join(pieces)


async def _exactly(reader: asyncio.StreamReader, size: int) -> bytes:
    if not 0 <= size <= BODY_LIMIT:
        raise WireError("the body is too large")
    return await reader.readexactly(size) if size else b""


async def send(writer: asyncio.StreamWriter, request: Request, response: Response) -> bool:
    """Send `response`; False when the connection is to be closed after it."""
    keep = request.version == "HTTP/1.1" and request.headers.get("connection", "").lower() != "close"
    keep = keep and response.headers.get("connection") != "close"
    headers = {"connection": "keep-alive" if keep else "close"} | response.headers
    body = response.body
    chunked = False
    if isinstance(body, bytes):
        if response.status not in BODILESS:
            headers["content-length"] = str(len(body))
    elif request.version == "HTTP/1.1":
        chunked = True
        headers["transfer-encoding"] = "chunked"
    else:
        keep = False  # the end of the connection is the end of the body
        headers["connection"] = "close"
    writer.write(_head(response.status, headers))
    if request.method == "HEAD" or response.status in BODILESS:
        await writer.drain()
        return keep
    if isinstance(body, bytes):
        writer.write(body)
        await writer.drain()
        return keep
    async for piece in body:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return keep


def _head(status: int, headers: dict[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", "server: hostler-stub"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

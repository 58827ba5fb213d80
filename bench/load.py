"""Our own load: many streams or requests at once on one event loop, or one request at a time.

Nothing is parsed: events are counted by their mark and dated by the stamp behind it, see `bench.upstream`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, cast

from bench.upstream import MARK, STAMP_DIGITS

LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
BODY_BEGINS: Final = b"\r\n\r\n"
READ: Final = 262_144  # one read of a large answer


class BadAnswer(Exception):
    """A subject answered something else than 200."""


@dataclass
class StreamTotals:
    """What all streams of one load have seen; `delays` are nanoseconds from written to read."""

    chunks: int = 0
    delays: list[int] = field(default_factory=list)
    seconds: float = 0.0


class Stream(asyncio.Protocol):
    """One request and its stream; `ended` is done when the last chunk is there."""

    def __init__(self, request: bytes, totals: StreamTotals, *, dated: bool) -> None:
        self._request = request
        self._totals = totals
        self._dated = dated
        self._tail = b""
        self._begun = False
        loop = asyncio.get_running_loop()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self._begun:
            self._begin(data)
        totals = self._totals
        totals.chunks += data.count(MARK)
        if self._dated:
            at = data.find(MARK) + 1
            if at and at + STAMP_DIGITS <= len(data):
                totals.delays.append(now - int(data[at : at + STAMP_DIGITS]))
        if len(data) < len(LAST_CHUNK):
            data = self._tail + data
        self._tail = data[-len(LAST_CHUNK) :]
        if self._tail == LAST_CHUNK and not self.ended.done():
            self.ended.set_result(None)

    def _begin(self, data: bytes) -> None:
        self._begun = True
        if data.startswith(b"HTTP/1.1 200"):
            self.begun.set_result(None)
        elif not self.ended.done():
            self._give_up(BadAnswer(data[:500].decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_up(BadAnswer(f"the stream broke off: {exc}"))

    def _give_up(self, why: Exception) -> None:
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_exception(why)
                future.exception()  # whoever waits for the other one has been told

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.abort()


async def run_streams(port: int, request: bytes, count: int, *, spread: float, dated: bool) -> StreamTotals:
    """Run `count` streams to their end, begun evenly over `spread` seconds; raises BadAnswer."""
    loop = asyncio.get_running_loop()
    totals = StreamTotals()
    begun = loop.time()
    streams = await open_streams(port, request, count, spread=spread, totals=totals, dated=dated)
    try:
        await asyncio.gather(*(stream.ended for stream in streams))
        totals.seconds = loop.time() - begun
    finally:
        for stream in streams:
            stream.close()
    return totals


async def open_streams(
    port: int, request: bytes, count: int, *, spread: float, totals: StreamTotals, dated: bool = False
) -> list[Stream]:
    """Begin `count` streams; returns when all are asked for."""
    loop = asyncio.get_running_loop()
    streams = []
    for _ in range(count):
        _, stream = await loop.create_connection(
            lambda: Stream(request, totals, dated=dated), "127.0.0.1", port
        )
        streams.append(stream)
        if spread:
            await asyncio.sleep(spread / count)
    return streams


class Asking(asyncio.Protocol):
    """One connection that asks again as soon as it has the whole answer; `ended` is done at `until`."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._size = 0
        self.answered = 0
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        if not self._size:
            if BODY_BEGINS not in self._data:
                return
            try:
                self._size = answer_size(self._data)
            except BadAnswer as error:
                self._end(error)
                return
        if len(self._data) >= self._size:
            self._data, self._size = b"", 0
            self.answered += 1
            if self._loop.time() >= self._until:
                self._end(None)
            elif self._transport is not None:
                self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(BadAnswer(f"the connection broke off: {exc}"))

    def _end(self, error: Exception | None) -> None:
        if not self.ended.done():
            if error is None:
                self.ended.set_result(None)
            else:
                self.ended.set_exception(error)
        if self._transport is not None:
            self._transport.abort()


async def run_requests(port: int, request: bytes, connections: int, seconds: float) -> int:
    """Ask on so many connections for so long; returns how many answers came. Raises BadAnswer."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    asking = []
    for _ in range(connections):
        _, one = await loop.create_connection(lambda: Asking(request, until), "127.0.0.1", port)
        asking.append(one)
    await asyncio.gather(*(one.ended for one in asking))
    return sum(one.answered for one in asking)


def answer_size(data: bytes) -> int:
    """Bytes of head and body of the answer that begins with `data`, its whole head; raises BadAnswer."""
    end = data.find(BODY_BEGINS)
    if not data.startswith(b"HTTP/1.1 200") or end < 0:
        raise BadAnswer(data[:500].decode(errors="replace"))
    lowered = data[:end].lower()
    at = lowered.find(b"\r\ncontent-length:")
    if at < 0:
        raise BadAnswer("an answer without a length")
    at += len(b"\r\ncontent-length:")
    line_end = lowered.find(b"\r\n", at)
    return end + len(BODY_BEGINS) + int(lowered[at : line_end if line_end >= 0 else end])


@contextlib.contextmanager
def connection(port: int) -> Iterator[socket.socket]:
    """A plain connection that sends at once."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


def ask(sock: socket.socket, request: bytes) -> int:
    """Ask once and read the whole answer; returns nanoseconds until all of it was there."""
    begun = time.perf_counter_ns()
    sock.sendall(request)
    data = sock.recv(READ)
    size = answer_size(data)
    got = len(data)
    while got < size:
        more = sock.recv(READ)
        if not more:
            raise BadAnswer("an answer broke off")
        got += len(more)
    return time.perf_counter_ns() - begun


def first_byte(sock: socket.socket, request: bytes) -> int:
    """Ask for a stream and read all of it; returns nanoseconds until the first byte of its first event."""
    begun = time.perf_counter_ns()
    sock.sendall(request)
    data = b""
    while True:
        data += sock.recv(READ)
        head = data.find(BODY_BEGINS)
        if head >= 0 and len(data) > head + len(BODY_BEGINS):
            break
    taken = time.perf_counter_ns() - begun
    if not data.startswith(b"HTTP/1.1 200"):
        raise BadAnswer(data[:500].decode(errors="replace"))
    while not data.endswith(LAST_CHUNK):
        more = sock.recv(READ)
        if not more:
            raise BadAnswer("a stream broke off")
        data += more
    return taken

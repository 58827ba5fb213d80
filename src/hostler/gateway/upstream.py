"""One request to an engine: its bytes, and its answer as something to await and read."""

from __future__ import annotations

import asyncio

from hostler.errors import UpstreamFailed
from hostler.gateway.connection import Connection
from hostler.gateway.headers import Headers
from hostler.gateway.origin import Origin
from hostler.gateway.pool import Pool
from hostler.gateway.sinks import ConnectionLost, ResponseHead, Sink

# A connection that was closed for being idle shows it as soon as it is used; an engine that takes longer than
# this had the request in hand, and must not be given it twice.
STALE_SECONDS = 1.0


def request_head(method: bytes, target: bytes, host: bytes | None, headers: Headers) -> bytes:
    """The request line and headers as bytes; `host` is added, None where `headers` have one."""
    fields = b"".join([b"%b: %b\r\n" % pair for pair in headers])
    if host is not None:
        fields += b"host: %b\r\n" % host
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, fields)


def took_too_long(origin: Origin, patience: float) -> UpstreamFailed:
    """An engine that was asked and has said nothing for `patience` seconds."""
    return UpstreamFailed(f"the engine at {origin} did not begin to answer within {patience:g} s")


class Exchange:
    """A request in flight as an async iterable answer; the sink for callers that await.

    The buffer between the engine and the reader is bounded: above `high` bytes the connection is paused
    until the reader has taken them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, high: int = 262_144) -> None:
        self._loop = loop
        self.head: asyncio.Future[ResponseHead] = loop.create_future()
        self.connection: Connection | None = None
        self._high = high
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: UpstreamFailed | None = None
        self._wake: asyncio.Future[None] | None = None
        self._paused = False
        self._heir: Sink | None = None  # who has the rest of the body

    # Sink
    def on_head(self, head: ResponseHead) -> None:
        if not self.head.done():
            self.head.set_result(head)

    def on_settled(self) -> None:
        """Whoever awaits the head has been told."""

    def on_data(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > self._high and not self._paused and self.connection is not None:
            self._paused = True
            self.connection.pause()
        self._notify()

    def on_chunk(self, chunk: bytes, start: int) -> None:
        self.on_data(chunk[start:-2])

    def on_end(self) -> None:
        self._ended = True
        self._notify()

    def on_failure(self, error: UpstreamFailed) -> None:
        self._error = error
        self._ended = True
        if not self.head.done():
            self.head.set_exception(error)
            self.head.exception()  # observed here: a caller that was cancelled will not
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def read(self) -> bytes:
        """All bytes that have come since the last read; empty at the end.

        Raises UpstreamFailed when the answer broke off, after what did come was read.
        """
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._wake = self._loop.create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused and self.connection is not None:
            self._paused = False
            if not self._ended:
                self.connection.resume()
        return data

    def hand_over(self, sink: Sink) -> None:
        """Let `sink` have what has come of the body, and each piece as it comes from now on."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if data:
            sink.on_data(data)
        if self._error is not None:
            sink.on_failure(self._error)
        elif self._ended:
            sink.on_end()
        elif self.connection is not None:
            self._heir = sink
            self.connection.redirect(sink)
            if self._paused:
                self._paused = False
                self.connection.resume()

    def close(self) -> None:
        """End the exchange; if the answer is not complete the engine sees its client go."""
        connection, heir = self.connection, self._heir
        if not self._ended and connection is not None and (heir is None or connection.serves(heir)):
            self._ended = True
            connection.abandon()
        if not self.head.done():
            self.head.cancel()


async def exchange(
    pool: Pool, method: str, head: bytes, body: bytes, *, response_timeout: float = 0.0
) -> tuple[Exchange, ResponseHead]:
    """Send a request and wait for the head of its answer.

    A warm connection that the engine had just closed is replaced once by a fresh one. `response_timeout`
    (seconds, 0 for none) bounds the wait for the head. Raises UpstreamFailed. The caller must close the
    exchange.
    """
    connection = pool.take()
    if connection is not None:
        sent = connection.loop.time()
        try:
            return await send_request(connection, method, head, body, response_timeout)
        except ConnectionLost as lost:
            if connection.loop.time() - sent > STALE_SECONDS:
                raise
            try:
                connection = await pool.connect()
            except UpstreamFailed:
                # Not closed for being idle: the engine itself is gone.
                raise lost from None
    else:
        connection = await pool.connect()
    return await send_request(connection, method, head, body, response_timeout)


async def send_request(
    connection: Connection,
    method: str,
    head: bytes,
    body: bytes,
    response_timeout: float,
    *,
    upgrade: bool = False,
) -> tuple[Exchange, ResponseHead]:
    """Send a request on `connection`, which must be idle, and wait for the head of its answer.

    With `upgrade` that may be a 101. Raises UpstreamFailed. The caller must close the exchange.
    """
    result = Exchange(connection.loop)
    result.connection = connection
    try:
        connection.send(head, body, result, method=method, upgrade=upgrade)
        if not response_timeout:
            return result, await result.head
        async with asyncio.timeout(response_timeout):
            return result, await result.head
    except TimeoutError:
        result.close()
        raise took_too_long(connection.origin, response_timeout) from None
    except BaseException:
        result.close()
        raise

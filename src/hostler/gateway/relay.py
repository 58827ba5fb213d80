"""The way of an answer's bytes: from the engine's socket to the client's, within one call.

No task wakes for a piece and no message is made of it; the request's own task only waits for the end. When
the client is behind, the engine's connection is not read until it has caught up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostler.errors import UpstreamFailed
    from hostler.gateway.connection import Connection, ResponseHead
    from hostler.gateway.edge import Writer
    from hostler.gateway.request import Request

# What the last bytes of an event are.
BORDERS = (b"\n\n", b"\r\n\r\n")


def ends_event(last: bytes) -> bool:
    """Whether an event stream whose last bytes (four, or all of it) are `last` stands between two events."""
    return not last or last.endswith(BORDERS)


class Relay:
    """The sink of one answer: what comes goes to `writer` at once; `done` is set at the end, or fails.

    `at_border` says whether what has passed ends between two events.
    """

    __slots__ = ("_connection", "_last", "_observed", "_paused", "_request", "_writer", "done")

    def __init__(self, request: Request, writer: Writer, connection: Connection) -> None:
        self.done: asyncio.Future[None] = connection.loop.create_future()
        self._request = request
        self._observed = request.observed
        self._writer = writer
        self._connection = connection
        self._last = b""
        self._paused = False

    @property
    def at_border(self) -> bool:
        return ends_event(self._last)

    def on_head(self, head: ResponseHead) -> None:
        """There is one head, and it came before."""

    def on_data(self, data: bytes) -> None:
        self._writer.write(data)
        self._request.sent += len(data)
        self._last = data if len(data) > 3 else self._last[-4:] + data
        if self._observed is not None:
            self._observed.passed(data)
        if self._writer.paused and not self._paused:
            self._paused = True
            self._writer.on_drain(self._drained)
            self._connection.pause()

    def on_end(self) -> None:
        self.close()
        if not self.done.done():
            self.done.set_result(None)

    def on_failure(self, error: UpstreamFailed) -> None:
        self.close()
        if not self.done.done():
            self.done.set_exception(error)

    def close(self) -> None:
        """Wait for the client no more: the engine's connection may be another request's from now on."""
        if self._paused:
            self._paused = False
            self._writer.on_drain(None)

    def _drained(self) -> None:
        self.close()
        self._connection.resume()

"""The way of an answer's bytes: from the engine's socket to the client's, within one call.

No task wakes for a piece and no message is made of it; the request's own task only waits for the end. When
the client is behind, the engine's connection is not read until it has caught up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hostler.errors import UpstreamFailed
    from hostler.gateway.connection import Connection
    from hostler.gateway.edge import Writer
    from hostler.gateway.observe import Observed
    from hostler.gateway.sinks import ResponseHead

# What the last bytes of an event are.
BORDERS = (b"\n\n", b"\r\n\r\n")


def ends_event(last: bytes) -> bool:
    """Whether an event stream whose last bytes (four, or all of it) are `last` stands between two events."""
    return not last or last.endswith(BORDERS)


def takes_events(head: ResponseHead) -> bool:
    """Whether something can be added to the answer: an event stream as it is, of no declared length."""
    return head.events and head.length is None and not head.given.get(b"content-encoding")


class Passage:
    """The body of one answer on its way: what comes goes to `writer` at once.

    `sent` is how many bytes of it have; `observed` sees them pass. `at_border` says whether what has passed
    ends between two events.
    """

    __slots__ = ("_connection", "_last", "_paused", "observed", "sent", "writer")

    def __init__(self, connection: Connection, writer: Writer | None) -> None:
        self.writer = writer  # None until there is an answer
        self.observed: Observed | None = None
        self.sent = 0
        self._connection = connection
        self._last = b""
        self._paused = False

    @property
    def at_border(self) -> bool:
        return ends_event(self._last)

    def on_data(self, data: bytes) -> None:
        behind = self.writer.write(data)  # type: ignore[union-attr]  # there is an answer by now
        size = len(data)
        self.sent += size
        self._last = data if size > 3 else self._last[-4:] + data
        if self.observed is not None:
            self.observed.passed(data)
        if behind and not self._paused:
            self._wait_for_client()

    def _wait_for_client(self) -> None:
        assert self.writer is not None
        self._paused = True
        self.writer.on_drain(self._drained)
        self._connection.pause()

    def close(self) -> None:
        """Wait for the client no more: the engine's connection may be another request's from now on."""
        if self._paused:
            self._paused = False
            assert self.writer is not None
            self.writer.on_drain(None)

    def _drained(self) -> None:
        self.close()
        self._connection.resume()


class Relay(Passage):
    """The sink of an answer whose request is a task; `done` is set at the end, or fails."""

    __slots__ = ("done",)

    def __init__(self, writer: Writer, connection: Connection, observed: Observed | None) -> None:
        super().__init__(connection, writer)
        self.done: asyncio.Future[None] = connection.loop.create_future()
        self.observed = observed

    def on_head(self, head: ResponseHead) -> None:
        """There is one head, and it came before."""

    def on_settled(self) -> None:
        """The head was handed on before."""

    def on_end(self) -> None:
        self.close()
        if not self.done.done():
            self.done.set_result(None)

    def on_failure(self, error: UpstreamFailed) -> None:
        self.close()
        if not self.done.done():
            self.done.set_exception(error)

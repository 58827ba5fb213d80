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
# Bytes of an answer that have passed and are still to be looked at: some twenty events.
MAX_UNSEEN = 4_096


def ends_event(last: bytes) -> bool:
    """Whether an event stream whose last bytes (four, or all of it) are `last` stands between two events."""
    return not last or last.endswith(BORDERS)


def takes_events(head: ResponseHead) -> bool:
    """Whether something can be added to the answer: an event stream as it is, of no declared length."""
    return head.events and head.length is None and not head.given.get(b"content-encoding")


class Passage:
    """The body of one answer on its way: what comes goes to `writer` at once.

    `sent` is how many bytes of it have; `observed` sees them pass, some of them together. `at_border` says
    whether what has passed ends between two events.
    """

    _connection: Connection
    writer: Writer | None = None  # until there is an answer
    observed: Observed | None = None
    sent = 0
    _last = b""
    _paused = False
    _keen = True  # each piece is looked at alone: the time of the first token is to be found
    _unseen: list[bytes] | None = None  # pieces that `observed` has not been shown
    _seen = 0  # bytes that it has

    @property
    def at_border(self) -> bool:
        return ends_event(self._last)

    def on_data(self, data: bytes) -> None:
        behind = self.writer.write(data)  # type: ignore[union-attr]  # there is an answer by now
        size = len(data)
        self.sent += size
        self._last = data if size > 3 else self._last[-4:] + data
        if self.observed is not None:
            if self._unseen is None:
                self._unseen = [data]
            else:
                self._unseen.append(data)
            if self._keen or self.sent - self._seen > MAX_UNSEEN:
                self.look()
        if behind and not self._paused:
            self._wait_for_client()

    def on_chunk(self, chunk: bytes, start: int) -> None:
        writer = self.writer
        through = writer.through  # type: ignore[union-attr]  # there is an answer by now
        data = chunk[start:-2]
        size = len(data)
        if through is None or self._keen or size < 4 or writer.state.disconnected:  # type: ignore[union-attr]
            self.on_data(data)
            return
        # As `on_data` does it.
        through(chunk)
        self.sent += size
        self._last = data
        if self.observed is not None:
            self._unseen.append(data)  # type: ignore[union-attr]  # there was a piece before it
            if self.sent - self._seen > MAX_UNSEEN:
                self.look()
        if writer.flow.write_paused and not self._paused:  # type: ignore[union-attr]
            self._wait_for_client()

    def look(self) -> None:
        """Show what has passed to `observed`; also to be called at the end."""
        unseen = self._unseen
        if unseen and self.observed is not None:
            data = unseen[0] if len(unseen) == 1 else b"".join(unseen)
            # First, so that what goes wrong with it goes wrong once, and not again at the end.
            unseen.clear()
            self._seen = self.sent
            self._keen = self.observed.passed(data)

    def _wait_for_client(self) -> None:
        assert self.writer is not None
        if not self._connection.serves(self):
            return  # all of the answer is here, and the connection may be another request's by now
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

    def __init__(self, writer: Writer, connection: Connection, observed: Observed | None) -> None:
        self.writer = writer
        self._connection = connection
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

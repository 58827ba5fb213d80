"""What a stream of events reads: the ring of events, and some logs as text."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Mapping
from typing import Any

from hostler.logs.monitor import LogMonitor
from hostler.logs.text import TextStream
from hostler.metrics.bus import EventBus

# Bytes of a log in one frame.
LOG_CHUNK = 65_536
# Events taken at once.
BATCH = 256


class LogText:
    """One log for an event stream: the text since the last look, with gaps marked."""

    def __init__(self, monitor: LogMonitor, *, history: bool = True) -> None:
        self.monitor = monitor
        self._follower = monitor.follow(history=history, limit=LOG_CHUNK)
        self._text = TextStream()
        # A character may be cut between two chunks.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def take(self) -> str:
        """What there is now, at most `LOG_CHUNK` bytes of it."""
        chunk = self._follower.read_nowait()
        return "" if chunk is None else self._decoder.decode(self._text.render(chunk))

    def history(self) -> str:
        """Everything there is now."""
        parts = []
        while part := self.take():
            parts.append(part)
        return "".join(parts)

    def waiter(self) -> asyncio.Future[None]:
        """A future for the next write."""
        return self.monitor.register_waiter()

    def close(self) -> None:
        """Read no more."""
        self._follower.close()


class EventSources:
    """The sources of one stream; it begins with the events that come from now on."""

    def __init__(self, bus: EventBus, logs: Mapping[str, LogText]) -> None:
        self._bus = bus
        self._logs = logs
        self._at = bus.end

    def waiters(self) -> list[tuple[Any, asyncio.Future[None]]]:
        """For the next event and the next byte of either log."""
        logs = (log for log in self._logs.values() if not log.monitor.closed)
        return [(self._bus, self._bus.register_waiter()), *((log.monitor, log.waiter()) for log in logs)]

    def close(self) -> None:
        """It is over."""
        for log in self._logs.values():
            log.close()

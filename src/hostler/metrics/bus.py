"""What happens, as a ring of numbered events that any number of listeners read with a cursor.

Publishing costs the same for one listener and for a thousand, and never waits: a listener is a position and
a wake-up. One that was too slow is told how many events it missed.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

# Events kept for those who come back: minutes of a busy server, at some 300 bytes each.
MAX_EVENTS = 2048
# And their bytes, whatever is in them.
MAX_BYTES = 8 * 1_048_576


# What an event that is not encoded yet counts for: those are a few short members.
SMALL_BYTES = 256


class Event:
    """One event; `data` is JSON, made when the first listener reads it."""

    __slots__ = ("_data", "_source", "_told", "number", "size", "type")

    def __init__(
        self,
        number: int,
        kind: str,
        source: object,
        data: bytes | None,
        told: Callable[[Any], object] | None = None,
    ) -> None:
        self._told = told
        self.number = number
        self.type = kind
        self.size = SMALL_BYTES if data is None else len(data)
        self._source = source
        self._data = data

    @property
    def data(self) -> bytes:
        if self._data is None:
            source = self._source if self._told is None else self._told(self._source)
            self._data = msgspec.json.encode(source)
            self._source = self._told = None
        return self._data


class EventBus:
    """The ring. Only the event loop's thread may call it."""

    def __init__(self, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self.epoch = os.urandom(4).hex()
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._end = 0  # the number of the newest event
        self._waiters: dict[asyncio.Future[None], None] = {}
        self.closed = False
        self.listeners = 0  # connected streams
        self.heard = False  # whether there ever was one

    def __repr__(self) -> str:
        return (
            f"<EventBus {self.epoch} | {len(self._events)} held of {self._end}, {len(self._waiters)} waiting>"
        )

    @property
    def end(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._end

    def join(self) -> None:
        """A stream begins to listen; `leave` when it ends."""
        self.listeners += 1
        self.heard = True

    def leave(self) -> None:
        """A stream has ended."""
        self.listeners -= 1

    @property
    def waiting(self) -> int:
        """How many listeners wait for the next event."""
        return len(self._waiters)

    def publish(self, kind: str, data: object) -> None:
        """Tell everybody that something of `kind` happened; `data` becomes JSON at once."""
        if not self.closed:
            self._add(Event(self._end + 1, kind, None, msgspec.json.encode(data)))

    def publish_small(self, kind: str, data: object, told: Callable[[Any], object] | None = None) -> None:
        """As `publish`, for what happens with each request: `data` is small, never changed, and becomes JSON
        only when somebody reads it; with `told`, what that makes of it does.
        """
        self.publish_all_small(kind, (data,), told)

    def publish_all_small(
        self, kind: str, all_data: Sequence[object], told: Callable[[Any], object] | None = None
    ) -> None:
        """`publish_small` for each of `all_data`."""
        if self.closed:
            return
        if self.heard:
            for data in all_data:
                self._add(Event(self._end + 1, kind, data, None, told))
        else:
            self._end += len(all_data)  # nobody was given a number from which to ask for them
            self._events.clear()
            self._bytes = 0

    def _add(self, event: Event) -> None:
        self._end = event.number
        events = self._events
        events.append(event)
        self._bytes += event.size
        while len(events) > self._max_events or (self._bytes > self._max_bytes and len(events) > 1):
            self._bytes -= events.popleft().size
        if self._waiters:
            self._wake()

    def read(self, after: int, limit: int = 256) -> tuple[list[Event], int]:
        """Up to `limit` events after number `after`, and how many between are lost."""
        if after >= self._end:
            return [], 0
        if not self._events:
            return [], self._end - after
        first = self._events[0].number
        missed = max(0, first - after - 1)
        skip = max(0, after + 1 - first)
        return [self._events[index] for index in range(skip, min(len(self._events), skip + limit))], missed

    def resume(self, text: str) -> tuple[int, bool]:
        """The number that an id of `id_of` names, and whether it is of this life; 0 when it is not."""
        epoch, _, digits = text.partition("-")
        if epoch == self.epoch and digits.isascii() and digits.isdigit() and int(digits) <= self._end:
            return int(digits), True
        return 0, False

    def id_of(self, number: int) -> str:
        """What a listener shows to go on after event `number`."""
        return f"{self.epoch}-{number}"

    def register_waiter(self) -> asyncio.Future[None]:
        """A future that the next event fulfils; in the same step in which the caller saw there is none."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.closed:
            waiter.set_result(None)
        else:
            self._waiters[waiter] = None
        return waiter

    def forget_waiter(self, waiter: asyncio.Future[None]) -> None:
        """It waits no more."""
        self._waiters.pop(waiter, None)

    def close(self) -> None:
        """No more events; listeners end."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if not self._waiters:
            return
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

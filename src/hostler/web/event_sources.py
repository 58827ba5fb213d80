"""What a stream of events reads: the ring of events, and some logs as text or as records."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Sequence

from hostler import aio
from hostler.logs.monitor import LogMonitor
from hostler.logs.query import Query
from hostler.logs.records import Record
from hostler.logs.store import LogStore
from hostler.logs.text import TextStream

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


class LogRecords:
    """The records of some logs (no names: of all), as `LogStore.follow` gives them, a batch at a time.

    They are read ahead by a task of their own, at most `BATCH` of them; `close` ends it.
    """

    def __init__(self, store: LogStore, names: Sequence[str], query: Query) -> None:
        self._store = store
        self._names = names
        self._query = query
        self._held: list[Record] = []
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def take(self) -> list[Record]:
        """What was read since the last call."""
        if self._task is None:
            self._task = aio.spawn(self._read(), name="read logs for a stream of events")
        taken, self._held = self._held, []
        _fulfil(self._room)
        return taken

    async def _read(self) -> None:
        records = self._store.follow(*self._names, query=self._query)
        try:
            async for record in records:
                self._held.append(record)
                _fulfil(self._waiter)
                if len(self._held) >= BATCH:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
        finally:
            await records.aclose()  # type: ignore[attr-defined]  # it is a generator

    def register_waiter(self) -> asyncio.Future[None]:
        """A future for the next record."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self._held:
            self._waiter.set_result(None)
        return self._waiter

    def forget_waiter(self, waiter: asyncio.Future[None]) -> None:
        """It waits no more."""
        if self._waiter is waiter:
            self._waiter = None

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            await aio.cancel_and_wait([self._task])


def _fulfil(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)

"""One reader of a log: a position and, while it waits, a wake-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from hostler.logs.cursor import Chunk, Cursor

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from hostler.logs.monitor import LogMonitor


class Follower:
    """One reader of a monitor; it has no queue. `LogMonitor.follow` makes it.

    An async iterator of chunks that ends when the monitor was closed and everything was read, or when the
    follower itself is closed. Together `data` and `missed` of its chunks account for every byte from its
    start on, in order, each once. A read that is cancelled loses nothing. One read at a time.
    """

    __slots__ = ("_closed", "_finishing", "_limit", "_monitor", "_position", "_waiter")

    def __init__(self, monitor: LogMonitor, position: int, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a follower reads at least 1 byte at a time, not {limit}")
        self._monitor = monitor
        self._position = position
        self._limit = limit
        self._closed = False
        self._finishing = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def cursor(self) -> Cursor:
        """Where the next read starts."""
        return Cursor(self._monitor.epoch, self._position)

    def read_nowait(self) -> Chunk | None:
        """The next chunk; None when there is nothing (yet, or any more)."""
        if self._closed:
            return None
        chunk = self._monitor.chunk_at(self._position, self._limit)
        if chunk is not None:
            self._position = chunk.cursor.position
        return chunk

    async def read(self) -> Chunk:
        """The next chunk, as soon as there is one; EOFError when there will be none."""
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise EOFError(f"the log {self._monitor.name!r} ends here") from None

    async def __anext__(self) -> Chunk:
        if self._waiter is not None:
            raise RuntimeError("a follower reads one thing at a time")
        monitor = self._monitor
        while not self._closed:
            # The end is worked out here, not asked for: most looks find nothing, and a call is half of them.
            if monitor._base + len(monitor._held) != self._position:
                chunk = monitor.chunk_at(self._position, self._limit)
                if chunk is not None:
                    self._position = chunk.cursor.position
                    return chunk
            if self._finishing or monitor.closed:
                break
            # No await between the look above and this: no write can fall in between.
            waiter = self._waiter = monitor.register_waiter()
            try:
                await waiter
            except BaseException:  # cancelled; a waiter that was woken is off the list already
                monitor.forget_waiter(waiter)
                raise
            finally:
                self._waiter = None
        raise StopAsyncIteration

    def __aiter__(self) -> Self:
        return self

    def finish(self) -> None:
        """End as soon as there is nothing to read: what was written until now still comes."""
        self._finishing = True
        self._wake()

    def close(self) -> None:
        """End now; a read that waits ends too. Any number of times."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._monitor.forget_waiter(self._waiter)
            self._waiter.set_result(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._closed:
            doing = "closed"
        elif self._waiter is not None:
            doing = "waiting"
        else:
            doing = "reading"
        behind = max(self._monitor.end - self._position, 0)
        return f"<Follower of {self._monitor.name} at {self._position}, {behind} B behind, {doing}>"

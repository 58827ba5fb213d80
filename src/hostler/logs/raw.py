"""One log as the bytes it is, history and live; a reader that the buffer has passed goes on in the files.

In the buffer all readers that keep up share one copy. Whoever has fallen behind reads the files, and comes
back to the buffer when it has caught up: in the same step of the event loop in which the files, and memory,
have nothing more for it, so no byte falls between the two and none comes twice.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

from hostler.logs.cursor import Chunk, Cursor
from hostler.logs.merge import Merge, at
from hostler.logs.source import SourceLog

if TYPE_CHECKING:
    from hostler.logs.hub import LogHub
    from hostler.logs.merge import Spot
    from hostler.logs.monitor import LogMonitor


class RawFollower:
    """One reader of the bytes of a monitor; an async iterator of chunks that ends with the monitor.

    `data` and `missed` of its chunks account for every byte from its start on, in order, each once. With
    `history` it begins with what the buffer holds or, of a log that is on disk only, as much of that.
    """

    def __init__(self, hub: LogHub, monitor: LogMonitor, *, history: bool) -> None:
        self._hub = hub
        self._monitor = monitor
        self._files = hub.files
        self._merge: Merge | None = None
        on_disk_only = monitor.start == monitor.end and monitor.end > 0
        self._position = monitor.start if history else monitor.end
        self._spots: dict[str, Spot] = {}
        if self._files is None:
            return
        if history and on_disk_only and isinstance(monitor, SourceLog):
            self._position = max(0, monitor.end - monitor.capacity)
            self._spots = {monitor.name: (0, self._position)}
            self._catch_up(find=True)
        else:
            self._note_spots()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        monitor = self._monitor
        while True:
            if self._merge is not None:
                chunk = await self._from_files(self._merge)
            elif self._files is not None and self._position < monitor.start:
                self._catch_up()
                continue
            else:
                # A look that takes all there is, so that where it ends is where all logs are now.
                chunk = monitor.chunk_at(self._position, monitor.capacity)
                if chunk is not None:
                    self._position = chunk.cursor.position
                    self._note_spots()
            if chunk is not None:
                return chunk
            if self._merge is not None or self._position != monitor.end:
                continue
            if monitor.closed:
                raise StopAsyncIteration
            # No await between the look above and this: no write can fall in between.
            waiter = monitor.register_waiter()
            try:
                await waiter
            finally:
                monitor.forget_waiter(waiter)

    def close(self) -> None:
        """Let go of the files."""
        if self._merge is not None:
            self._merge.close()

    # -- inner --------------------------------------------------------------------------------------------

    def _logs(self) -> list[SourceLog]:
        """The logs that the monitor is made of."""
        if isinstance(self._monitor, SourceLog):
            return [self._monitor]
        return [log for log in self._hub.sources() if log.feeds(self._monitor)]

    def _note_spots(self) -> None:
        if self._files is not None:
            self._spots = {log.name: (log.newest_seq, log.end) for log in self._logs()}

    def _catch_up(self, *, find: bool = False) -> None:
        monitor = self._monitor
        self._merge = Merge(
            self._logs(),
            self._files,
            everything=monitor is self._hub.combined,
            hub=self._hub,
            clock=self._hub.clock,
            spots=self._spots,
        )
        for state in self._merge:
            if find:
                state.begin_in_files(partial(at, state.source.name, state.position))

    async def _from_files(self, merge: Merge) -> Chunk | None:
        """The next chunk; None when the reader has caught up, and is back at the buffer."""
        piece = await merge.next(until_now=False)
        while piece is not None and piece.end == piece.start:
            piece = await merge.next(until_now=False)  # a start or an exit
        if piece is None:
            merge.close()
            self._merge = None
            self._position = self._monitor.end
            self._note_spots()
            return None
        missed = piece.end - piece.start - len(piece.data)
        single = isinstance(self._monitor, SourceLog)
        self._position = piece.end if single else self._position + piece.end - piece.start
        if missed:
            self._monitor.count_gap(missed)
        return Chunk(piece.data, missed, Cursor(self._monitor.epoch, self._position))

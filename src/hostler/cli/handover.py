"""A stream that is read by a thread of its own and handed over through a bounded queue.

So the main thread sees three things that a blocked read would hide: a pause, Ctrl-C, and a reader of our
output that has gone away while the log is silent.
"""

from __future__ import annotations

import contextlib
import queue
import select
import threading
from typing import TYPE_CHECKING

from hostler.client import CallError
from hostler.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

QUEUED = 64  # reads of at most 64 KiB: 4 MiB, then the server's own buffer takes over
FIRST = 1.0  # s until the first byte of a history must have come; it is sent at once
PAUSE = 0.15  # s without a byte: the history is through
IDLE = 0.5  # s between looks at whether anybody still reads our output
TAKEN = 1.0  # s after which --tail is applied to what came so far, for a log that never pauses

Item = bytes | CallError | None


class Handover:
    """A stream read by a thread, taken from with a limit on the wait."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._queue: queue.Queue[Item] = queue.Queue(QUEUED)
        self.ended = False
        threading.Thread(target=self._pump, args=(stream,), name="log reader", daemon=True).start()

    def take(self, seconds: float) -> bytes | None:
        """The next bytes, or None when none came in time or none will come (`ended`); raises CallError."""
        if self.ended:
            return None
        try:
            item = self._queue.get(timeout=seconds)
        except queue.Empty:
            return None
        if isinstance(item, CallError):
            self.ended = True
            raise item
        self.ended = item is None
        return item

    def until_pause(self) -> Iterator[bytes]:
        """What comes until the first pause, but for no longer than `TAKEN`."""
        chunk = self.take(FIRST)
        until = SYSTEM.monotonic() + TAKEN
        while chunk is not None:
            yield chunk
            chunk = self.take(PAUSE) if SYSTEM.monotonic() < until else None

    def read_by(self, out: IO[Any]) -> Iterator[bytes]:
        """All that comes, until its end; BrokenPipeError as soon as nobody reads `out` any more."""
        while not self.ended:
            item = self.take(IDLE)
            if item is not None:
                yield item
            elif not self.ended:
                check_reader(out)

    def _pump(self, stream: Iterator[bytes]) -> None:
        try:
            for chunk in stream:
                self._queue.put(chunk)
            self._queue.put(None)
        except CallError as error:
            self._queue.put(error)


def check_reader(out: IO[Any]) -> None:
    """Raise BrokenPipeError when `out` is a pipe that nobody reads; only a write would tell otherwise."""
    gone = False
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no file, or no poll on this system
        poll = select.poll()
        poll.register(out.fileno(), 0)  # errors and hang-ups are reported unasked
        gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        raise BrokenPipeError

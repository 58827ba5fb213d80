"""The engine's output: one pipe each for stdout and stderr, read as it comes and handed on as bytes.

The end of the process and the end of its output are separate events. A grandchild that keeps the pipe open
delays nobody: after the process has ended we take what is in the pipe, and go on listening for a while.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PIPE_SIZE: Final = 1 << 20
"""What Linux allows without privileges: fewer switches between engine and reader under a flood."""
READ_SMALL: Final = 1 << 16
READ_LARGE: Final = 1 << 18
"""Reading makes a buffer of the full size first, so the large one is only for a pipe that was full. A larger
one is no faster: its pages have to be fetched anew each time, and its bytes have left the cache when they are
copied on."""
READ_TINY: Final = 1 << 12
PAUSE: Final = 0.001
"""After a tiny read the next one waits a millisecond: who prints a million lines a second is then read a
thousand times a second, at a tenth of the cost, and a single line is still there at once."""
DRAIN_LIMIT: Final = 4 * PIPE_SIZE
"""More than a pipe holds: what is left after that was written by somebody who goes on writing."""
HOLD: Final = 10.0
"""Seconds a grandchild's output is still read after the engine has ended."""


class _Pipe:
    """Our end of one pipe."""

    __slots__ = ("_loop", "_pause", "fd", "first", "on_data", "on_end", "size")

    def __init__(self, fd: int, on_data: Callable[[bytes], None], on_end: Callable[[_Pipe], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self.fd = fd
        self.first: _Pipe | None = None
        """A pipe to read before this one: what an engine says on stdout before it fails on stderr should
        come before it, though nothing keeps the order between two pipes."""
        self.on_data = on_data
        self.on_end = on_end
        self.size = READ_SMALL

    def listen(self) -> None:
        """Be called when there is something to read."""
        self._pause = None
        self._loop.add_reader(self.fd, self._readable)

    def _readable(self) -> None:
        if self.first is not None:
            self.first.read()
        if 0 < self.read() < READ_TINY:
            self._loop.remove_reader(self.fd)
            self._pause = self._loop.call_later(PAUSE, self.listen)

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self.fd)
        os.close(self.fd)

    def read(self) -> int:
        """Hand on one read, so that a flood leaves the loop its turns; -1 when there is nothing now."""
        try:
            data = os.read(self.fd, self.size)
        except BlockingIOError:
            return -1
        except OSError:
            data = b""
        if not data:
            self.on_end(self)
            return -1
        self.size = READ_LARGE if len(data) >= READ_SMALL else READ_SMALL
        self.on_data(data)
        return len(data)


class Output:
    """Two pipes and their readers, one for each callback; `stdout` and `stderr` are the engine's ends."""

    def __init__(self, on_data: Callable[[bytes], None], on_error_data: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pipes: list[_Pipe] = []
        self._timer: asyncio.TimerHandle | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._writers: list[int] = []
        try:
            for taker in (on_data, on_error_data):
                self._writers.append(self._open(taker))
            self._pipes[1].first = self._pipes[0]
        except BaseException:
            self.close()
            raise
        self.stdout, self.stderr = self._writers

    def _open(self, on_data: Callable[[bytes], None]) -> int:
        reader, writer = os.pipe()
        if sys.platform == "linux":
            try:
                fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
            except OSError:
                pass  # this user has too many large pipes already; the usual size will do
        os.set_blocking(reader, False)
        pipe = _Pipe(reader, on_data, self._end)
        self._pipes.append(pipe)
        return writer

    def listen(self) -> None:
        """Begin to read; until then what comes waits in the pipes."""
        for pipe in self._pipes:
            pipe.listen()

    def handed_over(self) -> None:
        """Close the engine's ends here: it has its own copies now (or never will)."""
        for writer in self._writers:
            os.close(writer)
        self._writers = []

    def process_ended(self, hold: float = HOLD) -> None:
        """Take what is in the pipes now; what others still write is read for `hold` more seconds."""
        for pipe in tuple(self._pipes):
            taken = 0
            while taken < DRAIN_LIMIT and (count := pipe.read()) >= 0:
                taken += count
        if self._pipes and self._timer is None:
            self._timer = self._loop.call_later(hold, self.close)

    def _end(self, pipe: _Pipe) -> None:
        if pipe not in self._pipes:
            return
        self._pipes.remove(pipe)
        for other in self._pipes:
            other.first = None
        pipe.close()
        if not self._pipes:
            self._finish()

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        """Stop reading, whoever still writes."""
        self.handed_over()
        for pipe in tuple(self._pipes):
            self._end(pipe)
        self._finish()

    def __repr__(self) -> str:
        return f"<Output {len(self._pipes)} open>"

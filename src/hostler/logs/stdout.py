"""Our own stdout as one more follower.

A terminal that is stopped, a pipe nobody reads or one that is closed must stall nothing: a thread does the
writing, and it is handed one piece at a time. While it is stuck, the follower waits in front of it and the
log goes on; what the buffer passes meanwhile shows as a gap when the thread gets going again.

To wake the thread is what costs, and to be woken by it (docs/performance.md): it is handed little pieces
seldom, and speaks up only when it is waited for, or has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import select
import threading
from typing import TYPE_CHECKING, BinaryIO

from hostler import aio
from hostler.logs.text import TextStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostler.logs.hub import LogHub
    from hostler.logs.monitor import LogMonitor


# Between two writes; nobody reads lines faster, and a busy log becomes one write instead of a thousand.
REST_SECONDS = 0.1
# So often it is looked whether that is too long: when half of the buffer is full it is.
LOOK_SECONDS = 0.01
# Handed over in one piece: all that a buffer of the usual size holds. What was left of it would wait for the
# next piece while the buffer fills.
PIECE_BYTES = 131_072


def monitor_for(hub: LogHub, log_to_stdout: str) -> LogMonitor | None:
    """The monitor that `logToStdout` asks to copy: `proxy`, `upstream` or `both`; None for `none`."""
    return {"proxy": hub.proxy, "upstream": hub.upstream, "both": hub.combined}.get(log_to_stdout)


class StdoutCopy:
    """Copies a monitor to a binary stream until stopped, or until the stream is gone (then in silence).

    `history` also copies what the monitor holds already. Only the thread touches `stream`, and nobody else
    should; it is never closed here.
    """

    def __init__(self, monitor: LogMonitor, stream: BinaryIO, *, history: bool = True) -> None:
        self._monitor = monitor
        self._follower = monitor.follow(history=history, limit=PIECE_BYTES)
        self._stream = stream
        # One piece at a time is under way and one more may be the end mark.
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._handed = 0  # pieces
        self._writer: _Writer | None = None
        self._task: asyncio.Task[None] | None = None
        # What the copier waits for: its next look, or the thread.
        self._waiting: asyncio.Future[None] | None = None
        self._hurry = False

    def start(self) -> None:
        """Begin to copy; needs the running loop. Once only."""
        if self._task is not None:
            raise RuntimeError("this copy was started before")
        loop = asyncio.get_running_loop()

        def tell() -> None:
            # The loop may be closed already when a stuck write comes back: nobody is left to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._told)

        self._writer = _Writer(self._stream, self._pieces, tell)
        # A daemon: one that is stuck in a write must not keep the program from ending.
        name = self._monitor.name
        threading.Thread(target=self._writer.run, name=f"stdout-{name}", daemon=True).start()
        self._task = aio.spawn(self._copy(self._writer, loop), name=f"stdout copy of {name}")

    async def stop(self, timeout: float) -> None:
        """Write what was logged until now, for at most `timeout` seconds, and end. Any number of times."""
        if self._task is None or self._task.done():
            self._follower.close()
            return
        self._follower.finish()
        self._hurry = True
        self._wake()
        await asyncio.wait((self._task,), timeout=timeout)
        self._follower.close()
        await aio.cancel_and_wait((self._task,))

    async def _copy(self, writer: _Writer, loop: asyncio.AbstractEventLoop) -> None:
        text = TextStream()
        try:
            async with self._follower as follower:
                async for chunk in follower:
                    self._handed += 1
                    self._pieces.put(text.render(chunk))
                    await self._rest(loop)
                    await self._until_written(writer, loop)
                    if writer.ended:
                        return
        finally:
            self._pieces.put(None)

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let some more come together, unless the end is near."""
        until = loop.time() + REST_SECONDS
        full = self._follower.cursor.position + self._monitor.capacity // 2
        while not self._hurry and loop.time() < until and self._monitor.end < full:
            handle = loop.call_later(LOOK_SECONDS, self._wake)
            try:
                await self._woken(loop)
            finally:
                handle.cancel()

    async def _until_written(self, writer: _Writer, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the thread, however long it takes; most of the time it is done already."""
        while writer.written < self._handed and not writer.ended:
            waiting = self._woken(loop)
            writer.waited_for = True
            # Asked before the second look: the thread counts first and then looks whether it was asked.
            if writer.written < self._handed and not writer.ended:
                await waiting

    def _woken(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        self._waiting = loop.create_future()
        return self._waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _told(self) -> None:
        """Called when the thread has written what it was waited for, and when it has ended."""
        if self._writer is not None and self._writer.ended:
            self._follower.close()
        self._wake()

    def __repr__(self) -> str:
        state = "not started" if self._task is None else "ended" if self._task.done() else "copying"
        return f"<StdoutCopy of {self._monitor.name}, {state}>"


class _Writer:
    """The thread: writes each piece whole, until the end mark or until the stream is gone."""

    def __init__(
        self, stream: BinaryIO, pieces: queue.SimpleQueue[bytes | None], tell: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._pieces = pieces
        self._tell = tell
        self.written = 0
        """How many pieces; the thread alone counts."""
        self.ended = False
        self.waited_for = False
        """Asks to be told of the next piece that was written."""

    def run(self) -> None:
        """Write until there is no more to be written, or nowhere to."""
        try:
            # Below the buffer of sys.stdout: a thread that is stuck inside it would hold its lock, and the
            # interpreter aborts when it cannot get that lock at exit.
            self._stream.flush()
            raw = getattr(self._stream, "raw", self._stream)
            while (piece := self._pieces.get()) is not None:
                _write_all(raw, piece)
                self.written += 1
                if self.waited_for:
                    self.waited_for = False
                    self._tell()
        except (OSError, ValueError):
            pass  # closed at the other end, or by ourselves; there is nowhere to say so
        finally:
            self.ended = True
            self._tell()


def _write_all(raw: BinaryIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        count: int | None = raw.write(rest)
        if count is None:  # whoever shares the terminal made it non-blocking
            select.select((), (raw,), ())
            count = 0
        rest = rest[count:]
    raw.flush()

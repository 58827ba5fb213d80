"""Our own stdout as one more follower.

A terminal that is stopped, a pipe nobody reads or one that is closed must stall nothing: a thread does the
writing, and it is handed one piece at a time. While it is stuck, the follower waits in front of it and the
log goes on; what the buffer passes meanwhile shows as a gap when the thread gets going again.
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


# Between two writes; nobody reads lines faster, and a busy log becomes one write instead of a hundred.
REST_SECONDS = 0.02


def monitor_for(hub: LogHub, log_to_stdout: str) -> LogMonitor | None:
    """The monitor that `logToStdout` asks to copy: `proxy`, `upstream` or `both`; None for `none`."""
    return {"proxy": hub.proxy, "upstream": hub.upstream, "both": hub.combined}.get(log_to_stdout)


class StdoutCopy:
    """Copies a monitor to a binary stream until stopped, or until the stream is gone (then in silence).

    `history` also copies what the monitor holds already. Only the thread touches `stream`, and nobody else
    should; it is never closed here.
    """

    def __init__(self, monitor: LogMonitor, stream: BinaryIO, *, history: bool = True) -> None:
        self._follower = monitor.follow(history=history)
        self._name = monitor.name
        self._stream = stream
        # One piece at a time is under way and one more may be the end mark: 2 is never waited for.
        self._pieces: queue.Queue[bytes | None] = queue.Queue(maxsize=2)
        self._written: asyncio.Future[bool] | None = None
        self._task: asyncio.Task[None] | None = None
        self._rested: asyncio.Future[None] | None = None
        self._hurry = False

    def start(self) -> None:
        """Begin to copy; needs the running loop. Once only."""
        if self._task is not None:
            raise RuntimeError("this copy was started before")
        loop = asyncio.get_running_loop()

        def report(alive: bool) -> None:
            # The loop may be closed already when a stuck write comes back: nobody is left to tell.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._report, alive)

        # A daemon: one that is stuck in a write must not keep the program from ending.
        threading.Thread(
            target=_write_pieces,
            args=(self._stream, self._pieces, report),
            name=f"stdout-{self._name}",
            daemon=True,
        ).start()
        self._task = aio.spawn(self._copy(), name=f"stdout copy of {self._name}")

    async def stop(self, timeout: float) -> None:
        """Write what was logged until now, for at most `timeout` seconds, and end. Any number of times."""
        if self._task is None or self._task.done():
            self._follower.close()
            return
        self._follower.finish()
        self._hurry = True
        if self._rested is not None:
            _resolve(self._rested)
        await asyncio.wait((self._task,), timeout=timeout)
        self._follower.close()
        await aio.cancel_and_wait((self._task,))

    async def _copy(self) -> None:
        text = TextStream()
        loop = asyncio.get_running_loop()
        try:
            async with self._follower as follower:
                async for chunk in follower:
                    self._written = loop.create_future()
                    self._pieces.put_nowait(text.render(chunk))
                    if not await self._written:
                        return
                    await self._rest(loop)
        finally:
            self._pieces.put_nowait(None)

    async def _rest(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let some more come together, unless the end is near: to wake the thread is what costs."""
        self._rested = loop.create_future()
        handle = loop.call_later(REST_SECONDS, _resolve, self._rested)
        try:
            if not self._hurry:
                await self._rested
        finally:
            handle.cancel()

    def _report(self, alive: bool) -> None:
        if not alive:
            self._follower.close()
        if self._written is not None and not self._written.done():
            self._written.set_result(alive)

    def __repr__(self) -> str:
        state = "not started" if self._task is None else "ended" if self._task.done() else "copying"
        return f"<StdoutCopy of {self._name}, {state}>"


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _write_pieces(
    stream: BinaryIO, pieces: queue.Queue[bytes | None], report: Callable[[bool], None]
) -> None:
    """The thread: write each piece whole, then report True; at the end, whatever ends it, report False."""
    try:
        # Below the buffer of sys.stdout: a thread that is stuck inside it would hold its lock, and the
        # interpreter aborts when it cannot get that lock at exit.
        stream.flush()
        raw = getattr(stream, "raw", stream)
        while (piece := pieces.get()) is not None:
            _write_all(raw, piece)
            report(True)
    except (OSError, ValueError):
        pass  # closed at the other end, or by ourselves; there is nowhere to say so
    finally:
        report(False)


def _write_all(raw: BinaryIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        count: int | None = raw.write(rest)
        if count is None:  # whoever shares the terminal made it non-blocking
            select.select((), (raw,), ())
            count = 0
        rest = rest[count:]
    raw.flush()

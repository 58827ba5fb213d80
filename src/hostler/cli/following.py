"""logs: pass a log's bytes on exactly as they are, for as long as somebody reads them.

A stream is read by a thread of its own and handed over through a bounded queue, so the main thread can see
three things that a blocked read would hide: a pause (which is where history ends, for --tail), Ctrl-C, and
a reader of our output that has gone away while the log is silent.
"""

from __future__ import annotations

import collections
import contextlib
import queue
import select
import sys
import threading
from typing import TYPE_CHECKING

from hostler.cli import connect, log_files, log_records
from hostler.cli.outcome import OK, UsageError
from hostler.client import CallError
from hostler.clock import SYSTEM

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from hostler.client import LogStream

QUEUED = 64  # reads of at most 64 KiB: 4 MiB, then the server's own buffer takes over
FIRST = 1.0  # s until the first byte of a history must have come; it is sent at once
PAUSE = 0.15  # s without a byte: the history is through
IDLE = 0.5  # s between looks at whether anybody still reads our output
TAKEN = 1.0  # s after which --tail is applied to what came so far, for a log that never pauses

Item = bytes | CallError | None


def logs(arguments: Namespace) -> int:
    """Print a log; with -f go on until either side ends it."""
    if arguments.no_history and not arguments.follow:
        raise UsageError("logs: --no-history leaves nothing to show without -f")
    if arguments.no_history and arguments.tail is not None:
        raise UsageError("logs: --tail and --no-history exclude each other")
    if log_records.wanted(arguments):
        return log_records.logs(arguments)
    client = connect.client(arguments)
    source = arguments.sources[0] if arguments.sources else ""
    if log_files.may_read(arguments) and not connect.answers(client):
        tail = {} if arguments.tail is None else {"tail": str(arguments.tail)}
        if log_files.show(arguments.sources, tail, as_json=False):
            return OK
    out = sys.stdout.buffer
    with (
        connect.explained(),
        client.logs(source, follow=arguments.follow, history=not arguments.no_history) as stream,
    ):
        if arguments.follow:
            _follow(stream, out, arguments.tail)
            print("hostler: the server ended the log stream", file=sys.stderr)
        else:
            _copy(stream, out, arguments.tail)
    return OK


def last_lines(chunks: Iterable[bytes], count: int) -> bytes:
    """The last `count` lines of the joined chunks; a last line without its newline is a line."""
    if count == 0:
        for _ in chunks:
            pass
        return b""
    held: collections.deque[bytes] = collections.deque(maxlen=count)
    partial = b""
    for chunk in chunks:
        *whole, partial = (partial + chunk).split(b"\n")
        held.extend(line + b"\n" for line in whole)
    if partial:
        held.append(partial)
    return b"".join(held)


def _copy(stream: LogStream, out: BinaryIO, tail: int | None) -> None:
    if tail is not None:
        out.write(last_lines(stream, tail))
    else:
        for chunk in stream:
            out.write(chunk)
    out.flush()


def _follow(stream: LogStream, out: BinaryIO, tail: int | None) -> None:
    source = Handover(stream)
    if tail is not None:
        out.write(last_lines(source.until_pause(), tail))
        out.flush()
    while True:
        item = source.take(IDLE)
        if isinstance(item, bytes):
            out.write(item)
            out.flush()
        elif source.ended:
            return
        elif _nobody_reads(out):
            raise BrokenPipeError


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

    def _pump(self, stream: Iterator[bytes]) -> None:
        try:
            for chunk in stream:
                self._queue.put(chunk)
            self._queue.put(None)
        except CallError as error:
            self._queue.put(error)


def _nobody_reads(out: BinaryIO) -> bool:
    """Whether `out` is a pipe whose other end was closed; only a write would tell otherwise."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no file, or no poll on this system
        poll = select.poll()
        poll.register(out.fileno(), 0)  # errors and hang-ups are reported unasked
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    return False

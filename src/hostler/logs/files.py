"""The writer of log files: a thread that is handed entries and never holds anybody up.

What the disk cannot take is not written: a gap with its exact size is, as soon as there is room for it. A
directory that cannot be written to is one warning, and a new try now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from hostler.clock import SYSTEM, Clock
from hostler.logs.archive import META, Archive
from hostler.logs.journal import DATA, GAP, Row
from hostler.logs.segments import Item, Known, Segments, WriteFailed

# Bytes that wait for the disk. A thread on a disk that works takes a gigabyte a second, so this is what comes
# in the time in which it is held up.
MAX_QUEUED = 64 * 1_048_576
# What an entry takes beside its bytes, about.
OVERHEAD = 256
# How long entries gather before they are written, unless there are many or somebody waits for them. A crash
# of Hostler loses no more than that; an engine's crash loses nothing.
GATHER_SECONDS = 0.02
GATHERED_BYTES = 1_048_576
# Written in one go; the bytes of it are let go of before more is taken.
BATCH_BYTES = 4 * 1_048_576
# How long a disk that failed is left alone.
RETRY_SECONDS = 30.0
# How long a reader waits for a disk that hangs; what is not there then counts as missed.
FLUSH_SECONDS = 10.0
# Earlier lives of this store whose cursors are understood.
MAX_EPOCHS = 64
Warn = Callable[[str], None]


class DirectoryTaken(Exception):
    """Another process writes to this directory."""


class _Lost:
    """A stretch of one log that found no room in the queue; it waits there for its turn to be told."""

    __slots__ = ("end", "first", "last")

    def __init__(self, row: Row) -> None:
        self.first = self.last = row
        self.end = row[2]

    def row(self) -> Row:
        """It as a gap."""
        return _gap(self.first, self.last)


class LogFiles:
    """Writes the entries of all logs of one Hostler, and keeps the directory within its bounds.

    `max_bytes` (0: no bound) is for all segments together; of each model the segments of the newest run and
    of `keep_runs` before it are kept. Raises DirectoryTaken, or OSError where the directory cannot be made.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_bytes: int = 268_435_456,
        segment_bytes: int = 4_194_304,
        keep_runs: int = 3,
        warn: Warn = lambda _: None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._warn = warn
        self._clock = clock
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(directory)
        self._segments = Segments(
            directory, max_bytes=max_bytes, segment_bytes=segment_bytes, keep_runs=keep_runs
        )
        self.archive: Archive = self._segments.archive
        self.known: dict[str, Known] = self._segments.known
        self.was_cut_short = not self.archive.ended_well()
        self.epoch = os.urandom(4).hex()
        self.epochs = [self.epoch, *self.archive.epochs()][:MAX_EPOCHS]
        self._write_meta(ended=False)
        # The loop appends, the thread takes; each counts for itself, so that neither needs a lock.
        self._queue: deque[tuple[str, Row | _Lost, bytes] | Callable[[], None]] = deque()
        self._put_bytes = self._done_bytes = 0
        # Above so many bytes put, `put` has something to do: wake the thread, or refuse.
        self._alert_at = -1
        self._refused = self._failed = 0
        self._lost: dict[str, _Lost] = {}
        self._missing: dict[str, Row] = {}
        self._wake = threading.Condition()
        self._closing = False
        self._urgent = False
        self._broken_until = 0.0
        self._said = False
        self._thread = threading.Thread(target=self._run, name="log files", daemon=True)
        self._thread.start()

    @property
    def next_seq(self) -> int:
        """The first number that no entry has."""
        return max((known.seq for known in self.known.values()), default=0) + 1

    @property
    def dropped(self) -> int:
        """Bytes that were not written: the queue was full, or the disk failed."""
        return self._refused + self._failed

    # -- from the event loop ----------------------------------------------------------------------------

    def put(self, source: str, row: Row, data: bytes) -> None:
        """Take an entry to write; never waits, and drops it when too much waits already."""
        total = self._put_bytes = self._put_bytes + len(data) + OVERHEAD
        self._queue.append((source, row, data))
        if self._lost and row[6] != DATA:
            # What is lost from here on is a gap of its own, behind this.
            self._lost.pop(source, None)
        # After the append: a thread that went to sleep meanwhile has seen it, or is seen here.
        if total > self._alert_at:
            self._alert()

    def _alert(self) -> None:
        with self._wake:
            if self._put_bytes - self._done_bytes > MAX_QUEUED:
                self._refuse()
            else:
                self._wake.notify()
            self._alert_at = self._done_bytes + MAX_QUEUED

    def _refuse(self) -> None:
        """Take the newest entry back; what was lost of one log in a row is one gap."""
        try:
            newest = self._queue.pop()
        except IndexError:  # the thread was faster
            return
        if callable(newest):
            self._queue.append(newest)
            return
        source, row, data = newest
        if isinstance(row, _Lost) or row[6] != DATA:
            self._queue.append(newest)  # starts and exits are few and small
            return
        self._put_bytes -= len(data) + OVERHEAD
        self._refused += len(data)
        lost = self._lost.get(source)
        if lost is not None and lost.end == row[1]:
            lost.last, lost.end = row, row[2]
        else:
            lost = self._lost[source] = _Lost(row)
            self._queue.append((source, lost, b""))

    def warn_by(self, warn: Warn) -> None:
        """Tell `warn` what goes wrong; it is called by the thread that writes."""
        self._warn = warn

    async def flushed(self) -> bool:
        """Return when everything put so far has been written, or given up; whether it was written.

        A disk that hangs is not waited for longer than `FLUSH_SECONDS`.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def resolve() -> None:
            if not done.done():
                done.set_result(None)

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(resolve)

        with self._wake:
            if self._closing:
                return False
            self._queue.append(tell)
            self._urgent = True
            self._wake.notify()
        await asyncio.wait([done], timeout=FLUSH_SECONDS)
        return done.done() and self._clock.monotonic() >= self._broken_until

    def close(self) -> None:
        """Write what waits, and let go of the directory. Blocks until that is done, five seconds at most."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(5.0)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def configure(self, *, max_bytes: int, segment_bytes: int, keep_runs: int) -> None:
        """Other bounds; they count from the next write on."""
        segments = self._segments
        segments.max_bytes, segments.segment_bytes, segments.keep_runs = max_bytes, segment_bytes, keep_runs

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._gathered():
            self._write_some()
        self._broken_until = 0.0
        for source in tuple(self._missing):
            self._write(source, [])
        self._segments.close()
        with contextlib.suppress(OSError):
            self._write_meta(ended=True)

    def _gathered(self) -> bool:
        """Wait until there is enough to write; False when there will be no more."""
        with self._wake:
            self._alert_at = -1
            while not self._queue and not self._closing:
                self._wake.wait()
            self._alert_at = self._done_bytes + GATHERED_BYTES
            if not (self._closing or self._urgent or self._put_bytes > self._alert_at):
                self._wake.wait(GATHER_SECONDS)
            self._alert_at = self._done_bytes + MAX_QUEUED
            self._urgent = False
            return bool(self._queue)

    def _write_some(self) -> None:
        """Write what waits, up to a batch; entries of one log are written together."""
        batch: dict[str, list[Item]] = {}
        tells: list[Callable[[], None]] = []
        size = 0
        while self._queue and size < BATCH_BYTES:
            item = self._queue.popleft()
            if callable(item):
                tells.append(item)
                continue
            source, row, data = item
            if isinstance(row, _Lost):
                with self._wake:  # from here on it is not extended any more
                    if self._lost.get(source) is row:
                        self._lost.pop(source, None)
                    row = row.row()
            else:
                size += len(data) + OVERHEAD
            batch.setdefault(source, []).append((row, data))
        for source, items in batch.items():
            self._write(source, items)
        self._done_bytes += size
        for tell in tells:
            tell()

    def _write(self, source: str, items: list[Item]) -> None:
        missing = self._missing.get(source)
        if self._clock.monotonic() >= self._broken_until:
            try:
                self._segments.write(source, [(missing, b""), *items] if missing is not None else items)
            except WriteFailed as failed:
                self._fail(failed.cause)
                self._failed += failed.lost
            else:
                self._missing.pop(source, None)
                return
        else:
            self._failed += sum(len(data) for _, data in items)
        if items:
            # What of it is on disk after all, a reader has seen before it comes to this gap.
            self._missing[source] = _gap(missing or items[0][0], items[-1][0])

    def _fail(self, error: OSError) -> None:
        self._broken_until = self._clock.monotonic() + RETRY_SECONDS
        if not self._said:
            self._said = True
            self._warn(
                f"log files: cannot write to {self._directory}: {error.strerror or error}; logs are kept in "
                f"memory only, and the files are tried again every {RETRY_SECONDS:g} s"
            )

    def _write_meta(self, *, ended: bool) -> None:
        path = self._directory / META
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"epochs": self.epochs, "ended": ended}), encoding="utf-8")
        fresh.chmod(0o600)
        fresh.replace(path)

    def __repr__(self) -> str:
        waiting = self._put_bytes - self._done_bytes
        return f"<LogFiles {self._segments!r} | {waiting} B waiting, {self.dropped} B dropped>"


def _gap(first: Row, last: Row) -> Row:
    """A gap in place of everything from one entry to another."""
    return (last[0], first[1], last[2], last[3], last[4], last[5], GAP, {"why": "disk"})


class FilesToRead(LogFiles):
    """The files of a store that nobody writes to now: nothing is changed, and no lock is asked for."""

    def __init__(self, directory: Path) -> None:
        self.archive = Archive(directory)
        self.known = {name: Known(*self.archive.end(name)[:3], 0) for name in self.archive.names()}
        self.was_cut_short = False
        self.epoch = "files"
        self.epochs = self.archive.epochs()

    def put(self, source: str, row: Row, data: bytes) -> None:
        """Nothing is kept."""

    async def flushed(self) -> bool:
        """All of it is there."""
        return True

    def close(self) -> None:
        """There is nothing to let go of."""

    def __repr__(self) -> str:
        return f"<FilesToRead {len(self.known)} logs>"


def _lock(directory: Path) -> int | None:
    """Claim the directory for this process; None where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise DirectoryTaken(str(directory)) from None
    return descriptor

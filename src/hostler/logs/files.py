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
from asyncio.events import _get_running_loop  # one that answers None instead of raising
from collections import deque
from collections.abc import Callable
from math import inf
from pathlib import Path
from queue import Empty, SimpleQueue

from hostler.clock import SYSTEM, Clock
from hostler.logs.archive import META, Archive
from hostler.logs.journal import DATA, GAP, PROXY, Row
from hostler.logs.segments import Item, Known, Segments, WriteFailed

# Bytes that wait for the disk. A thread on a disk that works takes a gigabyte a second, so this is what comes
# in the time in which it is held up.
MAX_QUEUED = 64 * 1_048_576
# What an entry takes beside its bytes, about.
OVERHEAD = 256
# How long entries gather before they are written, unless there are many or somebody waits for them. A crash
# of Hostler loses no more than that; an engine's crash loses nothing. Our own lines gather for longer: a busy
# Hostler writes some all the time, and to wake the thread is what costs (docs/performance.md).
GATHER_SECONDS = 0.02
PROXY_GATHER_SECONDS = 0.1
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
        self._refused = self._failed = 0
        self._lost: dict[str, _Lost] = {}
        self._missing: dict[str, Row] = {}
        self._losing = threading.Lock()  # for what is in `_lost`
        self._closing = False
        self._broken_until = 0.0
        self._said = False
        self._let_it_sleep()
        self._thread = threading.Thread(target=self._run, name="log files", daemon=True)
        self._thread.start()

    def _let_it_sleep(self) -> None:
        """What is between a `put` and the thread that sleeps."""
        # Above so many bytes put, `put` has something to do: see that the thread is woken, or refuse.
        self._alert_at = -1
        # The thread sleeps until it is told in how many seconds to take what waits. It is told once: what it
        # was told last stands here until it begins to take.
        self._told = inf
        self._orders: SimpleQueue[float] = SimpleQueue()
        self._told_bytes = 0
        # The loop that runs, and its timer for the next order; without a loop the thread keeps the time.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeps_time: Callable[[], bool] = _always
        self._timer: asyncio.TimerHandle | None = None

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
        # After the append: a thread that began to take meanwhile has seen it, or is told here.
        if total > self._alert_at or not self._keeps_time():
            self._alert(ours=row[4] == PROXY)

    def _alert(self, *, ours: bool) -> None:
        """Refuse what is too much, and see that the thread takes in time what waits."""
        if self._put_bytes - self._done_bytes > MAX_QUEUED:
            with self._losing:
                self._refuse()
        loop = _get_running_loop()
        if loop is not self._loop:
            self._loop, self._timer = loop, None
            # Asked by each `put`. A look at what runs in this thread would be a system call each time.
            self._keeps_time = loop.is_running if loop is not None else _always
        if self._put_bytes > self._told_bytes + GATHERED_BYTES:
            self._tell(0)
        elif loop is None:
            self._tell(GATHER_SECONDS)
        else:
            when = loop.time() + (PROXY_GATHER_SECONDS if ours else GATHER_SECONDS)
            if self._timer is None or self._timer.when() > when:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = loop.call_at(when, self._tell, 0)
            if not ours:  # the timer is early enough for whatever comes; a later one is not
                self._quiet_until_full()

    def _tell(self, seconds: float) -> None:
        """Have the thread take what waits in so many seconds, unless it will anyway by then."""
        if self._timer is not None:
            if self._loop is _get_running_loop():
                self._timer.cancel()
            self._timer = None
        if not seconds or self._told == inf:
            self._told_bytes = self._put_bytes
        # Before the look at what it was told: it resets the two in the other order.
        self._quiet_until_full()
        if seconds < self._told:
            self._told = seconds
            self._orders.put(seconds)

    def _quiet_until_full(self) -> None:
        self._alert_at = min(self._told_bytes + GATHERED_BYTES, self._done_bytes + MAX_QUEUED)

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

        if self._closing:
            return False
        self._queue.append(tell)
        self._tell(0)
        await asyncio.wait([done], timeout=FLUSH_SECONDS)
        return done.done() and self._clock.monotonic() >= self._broken_until

    def close(self) -> None:
        """Write what waits, and let go of the directory. Blocks until that is done, five seconds at most."""
        self._closing = True
        self._tell(0)
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
        while not self._closing or self._queue:
            self._await_order()
            left = len(self._queue)  # no more than that: what comes now gathers for the next order
            while left > 0:
                left -= self._write_some(left)
        self._broken_until = 0.0
        for source in tuple(self._missing):
            self._write(source, [])
        self._segments.close()
        with contextlib.suppress(OSError):
            self._write_meta(ended=True)

    def _await_order(self) -> None:
        """Sleep until it is time to take what waits."""
        seconds = self._orders.get()
        if seconds:
            with contextlib.suppress(Empty):
                self._orders.get(timeout=seconds)
        self._told = inf
        self._alert_at = -1

    def _write_some(self, count: int) -> int:
        """Write the first `count` that wait, or a batch of them; returns how many those were.

        Entries of one log are written together.
        """
        batch: dict[str, list[Item]] = {}
        tells: list[Callable[[], None]] = []
        size = taken = 0
        while taken < count and size < BATCH_BYTES:
            try:
                item = self._queue.popleft()
            except IndexError:  # the newest was refused
                taken = count
                break
            taken += 1
            if callable(item):
                tells.append(item)
                continue
            source, row, data = item
            if isinstance(row, _Lost):
                with self._losing:  # from here on it is not extended any more
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
        return taken

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


def _always() -> bool:
    return True


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

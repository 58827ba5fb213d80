"""The writer of log files: a thread that is handed entries and never holds anybody up.

What the disk cannot take is not written: positions say so by themselves, because the next frame begins
further on. A directory that cannot be written to is one warning, and a new try now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hostler.clock import SYSTEM, Clock
from hostler.logs.archive import META, RUNS, Archive, folder_of, segment_name
from hostler.logs.frames import encode
from hostler.logs.journal import EXIT, START, Entry

# Bytes that wait for the disk: a second of an engine that prints as fast as it can.
MAX_QUEUED = 64 * 1_048_576
# How long entries gather before they are written, unless there are many or somebody waits for them. A crash
# of Hostler loses no more than that; an engine's crash loses nothing.
GATHER_SECONDS = 0.02
GATHERED_BYTES = 1_048_576
# How long a disk that failed is left alone.
RETRY_SECONDS = 30.0
# Earlier lives of this store whose cursors are understood.
MAX_EPOCHS = 64
Warn = Callable[[str], None]


class DirectoryTaken(Exception):
    """Another process writes to this directory."""


@dataclass(slots=True)
class _Writer:
    """The segment of one log that is written to."""

    file: BinaryIO
    path: Path
    run: int
    size: int


@dataclass(frozen=True, slots=True)
class Known:
    """Where a log goes on: after the newest entry of an earlier life."""

    seq: int
    position: int
    run: int
    torn: int


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
        self.archive = Archive(directory)
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes
        self.keep_runs = keep_runs
        self.dropped = 0  # bytes that were not written
        self._warn = warn
        self._clock = clock
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(directory)
        self.known = {name: self._mend(name) for name in self.archive.names()}
        self.epoch = os.urandom(4).hex()
        self.epochs = [self.epoch, *self.archive.epochs()][:MAX_EPOCHS]
        self._write_meta()
        self._writers: dict[str, _Writer] = {}
        self._sizes = self._measure()
        self._queue: deque[tuple[str, Entry, bytes] | Callable[[], None]] = deque()
        self._queued = 0
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

    # -- from the event loop ----------------------------------------------------------------------------

    def put(self, source: str, entry: Entry, data: bytes) -> None:
        """Take an entry to write; never waits, and drops it when too much waits already."""
        size = len(data) + 64
        with self._wake:
            if self._queued + size > MAX_QUEUED or self._closing:
                self.dropped += len(data)
                return
            self._queued += size
            self._queue.append((source, entry, data))
            # The thread gathers for a moment by itself; to wake it for each line costs more than the line.
            if len(self._queue) == 1 or self._queued > GATHERED_BYTES >= self._queued - size:
                self._wake.notify()

    def warn_by(self, warn: Warn) -> None:
        """Tell `warn` what goes wrong; it is called by the thread that writes."""
        self._warn = warn

    async def flushed(self) -> bool:
        """Return when everything put so far has been written, or given up; whether it was written."""
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
        await done
        return self._clock.monotonic() >= self._broken_until

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
        """Other bounds; they count from the next segment on."""
        self.max_bytes, self.segment_bytes, self.keep_runs = max_bytes, segment_bytes, keep_runs

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._closing:
                    self._wake.wait()
                self._wake.wait_for(self._has_gathered, GATHER_SECONDS)
                self._urgent = False
                batch = list(self._queue)
                self._queue.clear()
                self._queued = 0
                closing = self._closing and not batch
            if closing:
                break
            self._write_batch(batch)
        for writer in self._writers.values():
            with contextlib.suppress(OSError):
                writer.file.close()

    def _has_gathered(self) -> bool:
        return self._closing or self._urgent or self._queued > GATHERED_BYTES

    def _write_batch(self, batch: list[tuple[str, Entry, bytes] | Callable[[], None]]) -> None:
        touched: set[str] = set()
        tells: list[Callable[[], None]] = []
        for item in batch:
            if callable(item):
                tells.append(item)
                continue
            source, entry, data = item
            if self._clock.monotonic() < self._broken_until:
                self.dropped += len(data)
                continue
            try:
                self._write(source, entry, data)
                touched.add(source)
            except OSError as error:
                self._fail(source, error)
                self.dropped += len(data)
        for source in touched:
            writer = self._writers.get(source)
            if writer is not None:
                try:
                    writer.file.flush()
                except OSError as error:
                    self._fail(source, error)
        for tell in tells:
            tell()

    def _write(self, source: str, entry: Entry, data: bytes) -> None:
        writer = self._writers.get(source)
        if writer is None or entry.run != writer.run or writer.size >= self.segment_bytes:
            writer = self._rotate(source, entry)
        frame = encode(entry, data)
        writer.file.write(frame)
        writer.size += len(frame)
        self._sizes[writer.path] = writer.size
        if entry.kind in (START, EXIT):
            self._note_run(source, entry)

    def _rotate(self, source: str, entry: Entry) -> _Writer:
        old = self._writers.pop(source, None)
        if old is not None:
            old.file.close()
        folder = self._directory / folder_of(source)
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / segment_name(entry.run, entry.seq, entry.start)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        writer = _Writer(os.fdopen(descriptor, "ab"), path, entry.run, 0)
        self._writers[source] = writer
        self._sizes[path] = 0
        self._retire(source, entry.run)
        return writer

    def _note_run(self, source: str, entry: Entry) -> None:
        record = {"run": entry.run, **(entry.info or {})}
        record["started" if entry.kind == START else "ended"] = entry.time
        record["start" if entry.kind == START else "end"] = entry.start
        path = self._directory / folder_of(source) / RUNS
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(json.dumps(record, default=str).encode() + b"\n")

    def _retire(self, source: str, run: int) -> None:
        """Delete what is beyond the bounds, oldest first; never what is written to."""
        active = {writer.path for writer in self._writers.values()}
        if run:
            for segment in self.archive.segments(source):
                if segment.run < run - self.keep_runs and segment.path not in active:
                    self._delete(segment.path)
        if not self.max_bytes:
            return
        total = sum(self._sizes.values())
        if total <= self.max_bytes:
            return
        for path in sorted(self._sizes, key=_age):
            if total <= self.max_bytes:
                break
            if path not in active:
                total -= self._sizes[path]
                self._delete(path)

    def _delete(self, path: Path) -> None:
        self._sizes.pop(path, None)
        with contextlib.suppress(OSError):
            path.unlink()

    def _fail(self, source: str, error: OSError) -> None:
        writer = self._writers.pop(source, None)
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.file.close()
        self._broken_until = self._clock.monotonic() + RETRY_SECONDS
        if not self._said:
            self._said = True
            self._warn(
                f"log files: cannot write to {self._directory}: {error.strerror or error}; logs are kept in "
                f"memory only, and the files are tried again every {RETRY_SECONDS:g} s"
            )

    # -- opening ------------------------------------------------------------------------------------------

    def _mend(self, name: str) -> Known:
        """Where the log goes on; what was torn at its end by a crash is cut off."""
        seq, position, run, torn = self.archive.end(name)
        if torn:
            last = self.archive.segments(name)[-1]
            with contextlib.suppress(OSError):
                os.truncate(last.path, last.path.stat().st_size - torn)
        runs = self.archive.runs(name)
        newest = max([run, *(int(record["run"]) for record in runs[-1:])])
        return Known(seq, position, newest, torn)

    def _write_meta(self) -> None:
        path = self._directory / META
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"epochs": self.epochs}), encoding="utf-8")
        fresh.chmod(0o600)
        fresh.replace(path)

    def _measure(self) -> dict[Path, int]:
        found: dict[Path, int] = {}
        for name in self.archive.names():
            for segment in self.archive.segments(name):
                with contextlib.suppress(OSError):
                    found[segment.path] = segment.path.stat().st_size
        return found

    def __repr__(self) -> str:
        return (
            f"<LogFiles {len(self._writers)} open, {sum(self._sizes.values())} B | {self.dropped} B dropped>"
        )


class FilesToRead(LogFiles):
    """The files of a store that nobody writes to now: nothing is changed, and no lock is asked for."""

    def __init__(self, directory: Path) -> None:
        self.archive = Archive(directory)
        self.known = {name: Known(*self.archive.end(name)[:3], 0) for name in self.archive.names()}
        self.epoch = "files"
        self.epochs = self.archive.epochs()

    def put(self, source: str, entry: Entry, data: bytes) -> None:
        """Nothing is kept."""

    async def flushed(self) -> bool:
        """All of it is there."""
        return True

    def close(self) -> None:
        """There is nothing to let go of."""

    def __repr__(self) -> str:
        return f"<FilesToRead {len(self.known)} logs>"


def _age(path: Path) -> str:
    # Names carry run, seq and position; seq orders all logs together.
    return path.name.split("-")[1]


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

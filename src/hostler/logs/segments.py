"""Writing the segments of logs: appended to, rotated, and kept within a bound. Everything here blocks.

All segments together never take more than `max_bytes`: room is made before a write, the oldest bytes of all
logs first. (One read of a pipe that is larger than the bound is the one exception.)
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostler.logs.archive import NAME, RUNS, Archive, folder_of, segment_name
from hostler.logs.frames import head_of
from hostler.logs.journal import EXIT, START, Row

# A frame of up to so many bytes is put together here; of a larger one the bytes are written where they lie.
JOINED_BYTES = 8192
# Buffers that the system takes in one call.
MAX_BUFFERS = 1024
# A segment is at most this part of the bound, so that making room never takes more than that.
PARTS = 4
# The list of a model's runs: some hundreds of them. When it is longer, its older half goes.
RUNS_BYTES = 262_144
Item = tuple[Row, bytes]


class WriteFailed(Exception):
    """The disk did not take some of it; `lost` counts the bytes of the log among that, `cause` says why."""

    def __init__(self, cause: OSError, lost: int) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.lost = lost


@dataclass(slots=True)
class _Writer:
    """The segment of one log that is written to."""

    fd: int
    path: Path
    run: int
    size: int


@dataclass(frozen=True, slots=True)
class Known:
    """Where a log goes on: after the newest entry of an earlier life; `torn` bytes of it were cut off.

    `ended` says whether its last run had ended.
    """

    seq: int
    position: int
    run: int
    torn: int
    ended: bool = True


@dataclass(slots=True)
class _Segment:
    source: str
    seq: int
    size: int


class Segments:
    """What is written to in one directory; opened once, then used by one thread."""

    def __init__(self, directory: Path, *, max_bytes: int, segment_bytes: int, keep_runs: int) -> None:
        self.archive = Archive(directory)
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes
        self.keep_runs = keep_runs
        self._directory = directory
        self.known = {name: self._mend(name) for name in self.archive.names()}
        # Where each log ends: run, seq, position.
        self._ends = {name: (at.run, at.seq, at.position) for name, at in self.known.items()}
        self._writers: dict[str, _Writer] = {}
        self._segments = self._measure()
        self.total = sum(segment.size for segment in self._segments.values())

    def write(self, source: str, items: Sequence[Item]) -> None:
        """Append entries of one log. Raises WriteFailed; what was written until then is whole."""
        writer = self._writers.get(source)
        bound = min(self.segment_bytes, self.max_bytes // PARTS or self.segment_bytes)
        buffers: list[bytes] = []
        size = done = 0
        try:
            for place, (row, data) in enumerate(items):
                if writer is None or row[5] != writer.run or writer.size + size >= bound:
                    if writer is not None:
                        self._append(source, writer, buffers, size, items[place - 1][0])
                    buffers, size, done = [], 0, place
                    writer = self._rotate(source, row)
                head, info = head_of(row, data)
                size += len(head) + len(info) + len(data)
                if len(data) <= JOINED_BYTES:
                    buffers.append(head + info + data)
                else:
                    buffers += (head + info, data)
                if row[6] in (START, EXIT):
                    self._note_run(source, row)
            if writer is not None and items:
                self._append(source, writer, buffers, size, items[-1][0])
        except OSError as error:
            self._give_up(source)
            raise WriteFailed(error, sum(len(data) for _, data in items[done:])) from None

    def close(self) -> None:
        """Let go of all files."""
        while self._writers:
            os.close(self._writers.popitem()[1].fd)

    # -- inner --------------------------------------------------------------------------------------------

    def _append(self, source: str, writer: _Writer, buffers: list[bytes], size: int, last: Row) -> None:
        if not size:
            return
        self._make_room(size, writer.path)
        _write_all(writer.fd, buffers)
        writer.size += size
        self.total += size
        self._segments[writer.path].size = writer.size
        self._ends[source] = (last[5], last[0], last[2])

    def _give_up(self, source: str) -> None:
        """Half of a frame is none: cut it off, and begin a new segment when the disk works again."""
        writer = self._writers.pop(source, None)
        if writer is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(writer.fd, writer.size)
            with contextlib.suppress(OSError):
                os.close(writer.fd)

    def _rotate(self, source: str, row: Row) -> _Writer:
        old = self._writers.pop(source, None)
        if old is not None:
            os.close(old.fd)
        name = folder_of(source)
        folder = self._directory / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if "~" in name:
            (folder / NAME).write_text(source, encoding="utf-8")
        path = folder / segment_name(row[5], row[0], row[1])
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        writer = self._writers[source] = _Writer(fd, path, row[5], os.fstat(fd).st_size)
        self._segments[path] = _Segment(source, row[0], writer.size)
        self._retire(source, row[5], path)
        return writer

    def _retire(self, source: str, run: int, current: Path) -> None:
        """Delete what `keep_runs` does not ask for, and what only marked an end."""
        for segment in self.archive.segments(source):
            known = self._segments.get(segment.path)
            empty = known is not None and known.size == 0
            if segment.path != current and (empty or (run and segment.run < run - self.keep_runs)):
                self._delete(segment.path)

    def _make_room(self, size: int, current: Path) -> None:
        if not self.max_bytes:
            return
        while self.total + size > self.max_bytes:
            others = [path for path, known in self._segments.items() if known.size and path != current]
            if not others:
                return
            oldest = min(others, key=lambda path: self._segments[path].seq)
            self._keep_end(oldest)
            self._delete(oldest)

    def _keep_end(self, path: Path) -> None:
        """Of the newest segment of a log, where it ends has to be remembered: positions are used once."""
        source = self._segments[path].source
        if any(known.source == source and other > path for other, known in self._segments.items()):
            return
        writer = self._writers.pop(source, None)
        if writer is not None:
            os.close(writer.fd)
        run, seq, position = self._ends[source]
        marker = path.with_name(segment_name(run, seq + 1, position))
        marker.touch(mode=0o600)
        self._segments[marker] = _Segment(source, seq + 1, 0)

    def _delete(self, path: Path) -> None:
        known = self._segments.pop(path, None)
        self.total -= known.size if known is not None else 0
        with contextlib.suppress(OSError):
            path.unlink()

    def _note_run(self, source: str, row: Row) -> None:
        _, start, _, moment, _, run, kind, info = row
        record = {"run": run, **(info or {})}
        record["started" if kind == START else "ended"] = moment
        record["start" if kind == START else "end"] = start
        path = self._directory / folder_of(source) / RUNS
        line = json.dumps(record, default=str).encode() + b"\n"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(fd, "ab") as file:
            file.write(line)
            size = file.tell()
        if size > RUNS_BYTES:
            lines = path.read_bytes().splitlines(keepends=True)
            fresh = path.with_suffix(".new")
            fresh.write_bytes(b"".join(lines[len(lines) // 2 :]))
            fresh.chmod(0o600)
            fresh.replace(path)

    def _mend(self, name: str) -> Known:
        """Where the log goes on; what was torn at its end by a crash is cut off."""
        end = self.archive.end(name)
        if end.torn:
            last = self.archive.segments(name)[-1]
            with contextlib.suppress(OSError):
                os.truncate(last.path, last.path.stat().st_size - end.torn)
        runs = self.archive.runs(name)
        newest = max([end.run, *(int(record["run"]) for record in runs[-1:])])
        ended = not runs or "ended" in runs[-1] or end.kind == EXIT
        return Known(end.seq, end.position, newest, end.torn, ended)

    def _measure(self) -> dict[Path, _Segment]:
        found: dict[Path, _Segment] = {}
        for name in self.archive.names():
            for segment in self.archive.segments(name):
                with contextlib.suppress(OSError):
                    found[segment.path] = _Segment(name, segment.seq, segment.path.stat().st_size)
        return found

    def __repr__(self) -> str:
        return f"<Segments {len(self._segments)}, {self.total} B>"


def _write_all(fd: int, buffers: Sequence[bytes]) -> None:
    """Write all of it, in as few calls as the system allows."""
    for begin in range(0, len(buffers), MAX_BUFFERS):
        some = buffers[begin : begin + MAX_BUFFERS]
        if hasattr(os, "writev"):
            written = os.writev(fd, some)
        else:
            written = os.write(fd, b"".join(some))
        rest = _after(some, written)
        while rest:
            rest = rest[os.write(fd, rest) :]


def _after(buffers: Iterable[bytes], written: int) -> memoryview:
    """What comes after the first `written` bytes."""
    if written == sum(map(len, buffers)):
        return memoryview(b"")
    return memoryview(b"".join(buffers))[written:]

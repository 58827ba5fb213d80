"""The files of logs, for reading: which segments there are, and what they hold.

    DIRECTORY/meta.json                                  the epochs of this store, newest first
    DIRECTORY/NAME/RUN-SEQ-POSITION.log                  one segment: frames, from that entry and position on
    DIRECTORY/NAME/runs.jsonl                            starts and exits of runs, one a line

Reading needs no server and no lock: segments only grow, are cut only before they are written to again, and
disappear whole. Everything here blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from hostler.logs.frames import Frame, decode, needed
from hostler.logs.journal import DATA, GAP
from hostler.logs.source import Piece

SUFFIX = ".log"
META, RUNS = "meta.json", "runs.jsonl"
READ_BYTES = 262_144
# Names of files may have 255 bytes on most systems.
MAX_NAME = 150


def log_directory(configured: str) -> Path:
    """Where the files of logs are: as configured, else where the system keeps the state of programs."""
    if configured:
        return Path(configured).expanduser()
    from platformdirs import user_state_path

    return user_state_path("hostler", appauthor=False) / "logs"


@dataclass(frozen=True, slots=True)
class Segment:
    """One file: its first entry, and where that lies in the log."""

    path: Path
    run: int
    seq: int
    position: int


def folder_of(name: str) -> str:
    """The directory of the log called `name`."""
    quoted = quote(name, safe=" !()+,=@_-.") if name.strip(".") else quote(name, safe="").replace(".", "%2E")
    if len(quoted) <= MAX_NAME:
        return quoted
    import hashlib  # it brings OpenSSL along, and few names are this long

    return f"{quoted[:MAX_NAME]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def segment_name(run: int, seq: int, position: int) -> str:
    """The name of a segment that begins there; names sort as their contents do."""
    return f"{run:08}-{seq:020}-{position:020}{SUFFIX}"


class Archive:
    """What a directory holds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def names(self) -> list[str]:
        """The logs there are; one whose name was too long for a directory's is not among them."""
        try:
            found = [path.name for path in self.directory.iterdir() if path.is_dir()]
        except OSError:
            return []
        return sorted(unquote(name) for name in found if "~" not in name)

    def epochs(self) -> list[str]:
        """The epochs of this store, newest first."""
        try:
            meta = json.loads((self.directory / META).read_text(encoding="utf-8"))
            return [str(epoch) for epoch in meta["epochs"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def segments(self, name: str) -> list[Segment]:
        """The segments of a log, oldest first."""
        folder = self.directory / folder_of(name)
        found = []
        try:
            for path in folder.iterdir():
                parts = path.name.removesuffix(SUFFIX).split("-")
                if path.name.endswith(SUFFIX) and len(parts) == 3 and all(part.isdigit() for part in parts):
                    run, seq, position = map(int, parts)
                    found.append(Segment(path, run, seq, position))
        except OSError:
            return []
        return sorted(found, key=lambda segment: (segment.seq, segment.position))

    def runs(self, name: str) -> list[dict[str, Any]]:
        """What is known of the runs of a model, oldest first; lines that were torn are passed over."""
        found: dict[int, dict[str, Any]] = {}
        try:
            lines = (self.directory / folder_of(name) / RUNS).read_bytes().splitlines()
        except OSError:
            return []
        for line in lines:
            try:
                record = json.loads(line)
                found.setdefault(int(record["run"]), {}).update(record)
            except (ValueError, KeyError, TypeError):
                continue
        return [found[run] for run in sorted(found)]

    def reader(self, name: str, seq: int, position: int) -> SegmentReader:
        """Read a log from there on."""
        segments = self.segments(name)
        first = 0
        for place, segment in enumerate(segments):
            if segment.seq <= seq + 1 and segment.position <= position:
                first = place
        return SegmentReader(name, segments[first:], seq, position)

    def at(self, name: str, position: int) -> tuple[int, int]:
        """`(seq, position)` from which to read so that bytes from `position` on come, or the oldest ones."""
        segments = self.segments(name)
        if not segments:
            return 0, position
        chosen = segments[0]
        for segment in segments:
            if segment.position <= position:
                chosen = segment
        return chosen.seq - 1, max(position, chosen.position)

    def end(self, name: str) -> tuple[int, int, int, int]:
        """`(seq, position, run, torn)` at the end of the last segment; `torn` bytes there are no frames."""
        segments = self.segments(name)
        if not segments:
            return 0, 0, 0, 0
        last = segments[-1]
        seq, position, run = last.seq - 1, last.position, last.run
        sound = 0
        with last.path.open("rb") as file:
            for frame, end in frames(file):
                seq, position, run, sound = frame.entry.seq, frame.entry.end, frame.entry.run, end
            return seq, position, run, file.seek(0, 2) - sound


def frames(file: BinaryIO) -> Iterator[tuple[Frame, int]]:
    """Every whole frame from where `file` stands on, and where in the file it ends."""
    base = file.tell()
    buffer = b""
    at = 0
    while True:
        frame = decode(buffer, at)
        if frame is not None:
            at = frame.next
            yield frame, base + at
            continue
        size = needed(buffer, at)
        if size == 0 or (len(buffer) - at >= size):
            return  # no frame, or not a sound one
        base += at
        buffer = buffer[at:]
        at = 0
        more = file.read(max(READ_BYTES, size - len(buffer)))
        if not more:
            file.seek(base)
            return
        buffer += more


class SegmentReader:
    """Reads one log through its segments; a segment that has gone meanwhile shows as a gap."""

    def __init__(self, name: str, segments: list[Segment], seq: int, position: int) -> None:
        self.seq = seq
        self.position = position
        self._name = name
        self._segments = segments
        self._file: BinaryIO | None = None

    def next(self, limit: int) -> list[Piece]:
        """Pieces of about `limit` bytes; empty at the end of what was written so far."""
        found: list[Piece] = []
        taken = 0
        while taken < limit and self._open():
            assert self._file is not None
            for frame, end in frames(self._file):
                taken += self._take(found, frame)
                if taken >= limit:
                    self._file.seek(end)
                    return found
            if not self._segments:
                return found
            self._file.close()
            self._file = None
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._segments = []

    def _open(self) -> bool:
        while self._file is None and self._segments:
            try:
                self._file = self._segments.pop(0).path.open("rb")
            except OSError:
                continue
        return self._file is not None

    def _take(self, found: list[Piece], frame: Frame) -> int:
        entry = frame.entry
        if entry.seq <= self.seq or (entry.start < self.position and entry.end <= self.position):
            self.seq = max(self.seq, entry.seq)
            return 0
        begin = max(entry.start, self.position)
        if begin > self.position:
            found.append(Piece(self._name, entry, self.position, begin, kind=GAP))
        if entry.kind == DATA:
            data = frame.data[begin - entry.start :]
            found.append(Piece(self._name, entry, begin, entry.end, data))
        else:
            found.append(Piece(self._name, entry, entry.start, entry.end, kind=entry.kind))
        self.seq, self.position = entry.seq, max(self.position, entry.end)
        return len(frame.data)

"""The files of logs, for reading: which segments there are, and what they hold.

    DIRECTORY/meta.json                                  the epochs of this store, newest first
    DIRECTORY/NAME/RUN-SEQ-POSITION.log                  one segment: frames, from that entry and position on
    DIRECTORY/NAME/runs.jsonl                            starts and exits of runs, one a line
    DIRECTORY/NAME/name                                  the name, where it is too long for a directory's

A segment without bytes only says where its log goes on.

Reading needs no server and no lock: segments only grow, are cut only before they are written to again, and
disappear whole. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import json
import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote, unquote

from hostler.logs.frames import HEAD, Frame, decode, needed, next_of, time_of
from hostler.logs.journal import DATA, GAP
from hostler.logs.source import Piece

SUFFIX = ".log"
META, RUNS, NAME = "meta.json", "runs.jsonl", "name"
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
    quoted = quoted.replace("~", "%7E")
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
        """The logs there are."""
        found = []
        try:
            for path in self.directory.iterdir():
                if path.is_dir():
                    whole = "~" not in path.name
                    found.append(unquote(path.name) if whole else (path / NAME).read_text(encoding="utf-8"))
        except OSError:
            pass
        return sorted(found)

    def ended_well(self) -> bool:
        """Whether the last that wrote here could write all it had."""
        return bool(self._meta().get("ended", True))

    def epochs(self) -> list[str]:
        """The epochs of this store, newest first."""
        epochs = self._meta().get("epochs")
        return [str(epoch) for epoch in epochs] if isinstance(epochs, list) else []

    def _meta(self) -> dict[str, Any]:
        try:
            meta = json.loads((self.directory / META).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return meta if isinstance(meta, dict) else {}

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
        return SegmentReader(self, name, seq, position)

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

    def since(self, name: str, time: float) -> int:
        """From which position on everything is that came at `time` or later; reads one segment at most."""
        segments = self.segments(name)
        # The first frame of a segment says when it began: the one before the first that began later.
        place = bisect_left(segments, time, key=_began)
        if place == 0:
            return segments[0].position if segments else 0
        chosen = segments[place - 1]
        with contextlib.suppress(OSError), chosen.path.open("rb") as file:
            for frame, _ in frames(file):
                if frame.entry.time >= time:
                    return frame.entry.start
        return segments[place].position if place < len(segments) else self.end(name).position

    def run(self, name: str, run: int) -> tuple[int, int]:
        """`(seq, position)` where a run begins, or what is left of it."""
        for segment in self.segments(name):
            if segment.run >= run:
                return segment.seq - 1, segment.position
        end = self.end(name)
        return end.seq, end.position

    def end(self, name: str) -> End:
        """The end of the last segment."""
        segments = self.segments(name)
        if not segments:
            return End()
        last = segments[-1]
        found = End(last.seq - 1, last.position, last.run)
        whole = 0
        try:
            with last.path.open("rb") as file:
                for frame, after in frames(file):
                    found = End(frame.entry.seq, frame.entry.end, frame.entry.run, kind=frame.entry.kind)
                    whole = after
                return found._replace(torn=file.seek(0, 2) - whole)
        except OSError:
            return found


class End(NamedTuple):
    """Where a log ends: its newest entry, the position after it, and `torn` bytes that are no frame."""

    seq: int = 0
    position: int = 0
    run: int = 0
    torn: int = 0
    kind: str = ""


def _began(segment: Segment) -> float:
    """When the first entry of a segment came; of one without any: not yet."""
    try:
        with segment.path.open("rb") as file:
            return time_of(file.read(HEAD))
    except OSError:
        return math.inf


def frames(file: BinaryIO, after: int = 0) -> Iterator[tuple[Frame, int]]:
    """Every whole frame from where `file` stands on that came after entry `after`, and where it ends."""
    base = file.tell()
    buffer = b""
    at = 0
    while True:
        known = next_of(buffer, at, after)
        if known:
            at = known
            continue
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
    """Reads one log through its segments, those to come included; a segment that has gone shows as a gap."""

    def __init__(self, archive: Archive, name: str, seq: int, position: int) -> None:
        self.seq = seq
        self.position = position
        self.at_end = True
        """Whether the last read came to the end of what there was."""
        self._archive = archive
        self._name = name
        self._file: BinaryIO | None = None
        self._opened = -1  # the number that the open segment begins with

    def skip_to(self, seq: int, position: int) -> None:
        """Leave out what was had from elsewhere."""
        self.seq = max(self.seq, seq)
        self.position = max(self.position, position)

    def next(self, limit: int) -> list[Piece]:
        """Pieces of about `limit` bytes; empty at the end of what was written so far."""
        found: list[Piece] = []
        taken = 0
        self.at_end = False
        while self._file is not None or self._open():
            assert self._file is not None
            for frame, end in frames(self._file, self.seq):
                taken += self._take(found, frame)
                if taken >= limit:
                    self._file.seek(end)
                    return found
            if not self._open():
                break
        self.at_end = True
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        """Go on to the next segment, if there is one."""
        segments = [known for known in self._archive.segments(self._name) if known.seq > self._opened]
        first = 0
        for place, segment in enumerate(segments):
            if segment.seq <= self.seq + 1 and segment.position <= self.position:
                first = place
        for segment in segments[first:]:
            with contextlib.suppress(OSError):
                file = segment.path.open("rb")
                self.close()
                self._file, self._opened = file, segment.seq
                return True
        return False

    def _take(self, found: list[Piece], frame: Frame) -> int:
        entry = frame.entry
        if entry.seq <= self.seq or (entry.start < self.position and entry.end <= self.position):
            self.seq = max(self.seq, entry.seq)
            return 0
        begin = max(entry.start, self.position)
        if begin > self.position:
            found.append(Piece(self._name, entry, self.position, begin, kind=GAP))
        data = frame.data[begin - entry.start :] if begin > entry.start else frame.data
        start = entry.start if entry.kind != DATA and data else begin
        found.append(Piece(self._name, entry, start, entry.end, data, entry.kind))
        self.seq, self.position = entry.seq, max(self.position, entry.end)
        return len(frame.data)

"""Log bytes as records: lines, gaps, starts and exits of runs. Pure.

Lines are cut on the reading side, for each stream of each log by itself, so that what two of them print at
the same time is never mixed within a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hostler.logs.journal import DATA, EXIT, GAP, START, Entry
from hostler.logs.levels import Level
from hostler.logs.severity import level_of
from hostler.logs.source import Piece

# Longer lines are tensors and prompts; they are split, so that one line cannot fill a reader's memory.
MAX_LINE = 16_384

LINE = "line"


class Place(NamedTuple):
    """A place in all logs together, or in one: after `offset` bytes of entry `seq`. (Before it, where the
    offset is negative: bytes are held for longer than what is known of their entries.)

    `position` is where that is in the log itself, for a reader of one log; None for a reader of several.
    `total` is the sum of the positions of all logs of a reader of several, and `view` says which logs these
    are. `partial` are the places (seq, offset) up to which lines that are still open were handed out, `open`
    is how many bytes of lines without an end had come and not been. The text form is part of a cursor.
    """

    seq: int
    offset: int
    position: int | None = None
    partial: tuple[tuple[int, int], ...] = ()
    open: int = 0
    total: int | None = None
    view: int = 0

    def __str__(self) -> str:
        if self.position is not None and not self.open and not self.partial:
            return f"{self.seq}.{self.offset}.{self.position}"
        position = "" if self.position is None else f".{self.position}"
        partial = "".join(f"p{seq}.{offset}" for seq, offset in self.partial)
        total = "" if self.total is None else f"s{self.total}.{self.view}"
        return f"{self.seq}.{self.offset}{position}{total}{partial}{f'o{self.open}' if self.open else ''}"

    @property
    def order(self) -> tuple[int, int]:
        """By which places are compared."""
        return self.seq, self.offset


class Record(NamedTuple):
    """One thing that a log says.

    `kind` is `line`, `gap`, `start` or `exit`; `raw` is a line's bytes without its end; `missed` counts the
    bytes of a gap, None where nobody knows how many they were; `info` describes a start or an exit. A
    `partial` line was not finished when it was handed out, a `cut` one was too long and goes on in the next
    record. `time` is wall time in seconds since 1970.
    """

    kind: str
    model: str
    run: int
    stream: str
    time: float
    place: Place
    level: Level = Level.INFO
    raw: bytes = b""
    missed: int | None = 0
    partial: bool = False
    cut: bool = False
    info: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """The line as people saw it: of one that was drawn over itself, the last state."""
        if b"\r" not in self.raw:
            return self.raw.decode("utf-8", "replace")
        return self.raw.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace")

    @property
    def redrawn(self) -> bool:
        """Whether the line was drawn over itself: `text` takes the place of what came of it before."""
        return b"\r" in self.raw and b"\r" in (self.raw if self.partial else self.raw.rstrip(b"\r"))


class _Open:
    """A line that has begun."""

    __slots__ = ("data", "entry", "handed", "level")

    def __init__(self) -> None:
        self.data = b""
        self.handed: tuple[int, int] | None = None  # up to where it was handed out before its end
        self.entry: Entry | None = None  # the newest one that it has bytes of
        self.level = Level.INFO  # of the line before


class Lines:
    """Cuts the pieces of any number of logs, in their order, into records.

    With `single` the places carry the position in the one log there is, otherwise the sum of the positions of
    all logs: a number that tells what was missed, even where the files do not go back to it any more.
    """

    def __init__(self, *, single: bool = False, view: int = 0) -> None:
        self.total: int | None = None
        """The sum before the next piece; whoever feeds them sets it."""
        self._view = view
        self._begin = 0  # where the piece begins that is being cut
        self._open: dict[tuple[str, str], _Open] = {}
        self._single = single
        self._last = Place(0, 0, 0 if single else None)  # what was read last
        self._handed: frozenset[tuple[int, int]] = frozenset()

    def resume(self, place: Place) -> None:
        """Go on behind `place`: what comes first was cut before."""
        self._last = place._replace(partial=(), open=0)
        self._handed = frozenset(place.partial)

    def jump(self, place: Place) -> None:
        """Go on behind `place`: what lies before it is gone."""
        self._last = place._replace(partial=(), open=0)

    @property
    def unfinished(self) -> int:
        """How many bytes wait for the ends of their lines."""
        return sum(len(line.data) for line in self._open.values())

    def feed(self, piece: Piece) -> Iterator[Record]:
        """The records that `piece` completes."""
        self._begin = piece.start
        yield from self._records(piece)
        self._last = self._after(piece.entry, piece.end)
        if self.total is not None:
            self.total += piece.end - piece.start
            self._begin = piece.end

    def _records(self, piece: Piece) -> Iterator[Record]:
        if piece.kind == DATA:
            yield from self._cut(piece)
            return
        if piece.kind in (GAP, EXIT, START):
            # What was cut off by them will not be finished. (Of a run that has ended more may have come.)
            yield from self.flush(piece.source)
        entry = piece.entry
        place = self._place(entry, piece.end)
        yield Record(
            piece.kind,
            piece.source,
            entry.run,
            entry.stream,
            entry.time,
            place,
            missed=piece.missed,
            info=entry.info if piece.kind != GAP else None,
        )

    def flush(self, source: str | None = None) -> Iterator[Record]:
        """The lines of `source`, or of all, that have begun, as partial ones."""
        for (name, _), line in self._open.items():
            if not line.data or source not in (None, name):
                continue
            data, line.data = line.data, b""
            assert line.entry is not None
            line.handed = (line.entry.seq, line.entry.end - line.entry.start)
            yield self._record(name, line, data, line.entry.end, partial=True)

    def _cut(self, piece: Piece) -> Iterator[Record]:
        line = self._open.setdefault((piece.source, piece.entry.stream), _Open())
        *whole, rest = piece.data.split(b"\n")
        at = piece.start
        for part in whole:
            at += len(part) + 1
            line.entry = piece.entry
            if line.data or len(part) > MAX_LINE:
                line.data += part
                yield from self._ended(piece, line, at)
            else:
                line.handed = None
                yield self._record(piece.source, line, part, at)
        if rest:
            line.data += rest
            line.entry = piece.entry
            while len(line.data) > MAX_LINE:
                head, line.data = line.data[:MAX_LINE], line.data[MAX_LINE:]
                yield self._record(piece.source, line, head, piece.end - len(line.data), cut=True)
            if (piece.entry.seq, piece.offset) in self._handed:
                line.handed, line.data = (piece.entry.seq, piece.offset), b""

    def _ended(self, piece: Piece, line: _Open, end: int) -> Iterator[Record]:
        while len(line.data) > MAX_LINE:
            head, line.data = line.data[:MAX_LINE], line.data[MAX_LINE:]
            yield self._record(piece.source, line, head, end - 1 - len(line.data), cut=True)
        data, line.data = line.data, b""
        line.handed = None
        yield self._record(piece.source, line, data, end)

    def _record(
        self, source: str, line: _Open, data: bytes, end: int, *, partial: bool = False, cut: bool = False
    ) -> Record:
        entry = line.entry
        assert entry is not None
        known = level_of(data[:400].decode("utf-8", "replace"))
        if known is not None:
            line.level = known
        place = self._place(entry, end)
        return Record(
            LINE,
            source,
            entry.run,
            entry.stream,
            entry.time,
            place,
            line.level,
            data,
            partial=partial,
            cut=cut,
        )

    def _after(self, entry: Entry, end: int) -> Place:
        """Behind `end`, or behind what was read last: a cursor never goes back."""
        last, offset = self._last, end - entry.start
        if entry[0] < last[0] or (entry[0] == last[0] and offset < last[1]):
            return last
        if self._single:
            return Place(entry[0], offset, end, view=self._view)
        total = None if self.total is None else self.total + end - self._begin
        return Place(entry[0], offset, total=total, view=self._view)

    def _place(self, entry: Entry, end: int) -> Place:
        self._last = place = self._after(entry, end)
        handed, waiting = [], 0
        for line in self._open.values():
            waiting += len(line.data)
            if line.handed is not None:
                handed.append(line.handed)
        if not handed and not waiting:
            return place
        return place._replace(partial=tuple(handed), open=waiting)

"""The log of one model, or of the proxy, with what is known of its bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from hostler.logs.journal import DATA, GAP, MAX_ROWS, PROXY, STDOUT, Entry, Journal, Row
from hostler.logs.monitor import LogMonitor
from hostler.logs.ring import Data
from hostler.logs.text import gap_line


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one log as a reader gets it: bytes of one entry, an event, or bytes that are gone.

    `start` and `end` are positions in that log; `offset` is where `end` lies within the entry.
    """

    source: str
    entry: Entry
    start: int
    end: int
    data: bytes = b""
    kind: str = DATA

    @property
    def vanished(self) -> bool:
        """Whether it stands for bytes of this log that are gone; the only other gaps are those of which the
        entry itself says how many bytes never came.
        """
        if self.kind != GAP:
            return False
        told = self.entry.kind == GAP and self.entry.info is not None and "missed" in self.entry.info
        return not told or self.start < self.entry.start

    @property
    def missed(self) -> int | None:
        """How many bytes a gap counts; None where nobody knows."""
        if self.kind != GAP:
            return 0
        if self.vanished or self.entry.info is None:
            return self.end - self.start
        told: int | None = self.entry.info["missed"]
        return told

    def parts(self, size: int) -> Iterator[Piece]:
        """It in parts of at most `size` bytes; what is no data stays whole."""
        if self.kind != DATA or len(self.data) <= size:
            yield self
            return
        for at in range(0, len(self.data), size):
            data = self.data[at : at + size]
            yield Piece(self.source, self.entry, self.start + at, self.start + at + len(data), data)

    @property
    def offset(self) -> int:
        """Where it ends within its entry, in bytes."""
        return self.end - self.entry.start


def joined(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same, with bytes that are gone in one piece where they lie together."""
    last: Piece | None = None
    for piece in pieces:
        if last is not None and piece.vanished and last.end == piece.start:
            last = replace(piece, start=last.start)
            continue
        if last is not None:
            yield last
        last = piece if piece.vanished else None
        if last is None:
            yield piece
    if last is not None:
        yield last


class Sink(Protocol):
    """Where entries go to be kept; the files."""

    def put(self, source: str, row: Row, data: bytes) -> None:
        """Take an entry; never waits."""
        ...


class SourceLog(LogMonitor):
    """A monitor that knows when and how each of its bytes came. The hub is its only maker."""

    __slots__ = (
        "_dropped", "_first_seq", "_limiter", "_mark", "_marked", "_now", "_numbers", "_put", "_rings",
        "_rows", "_run", "born", "journal", "stream",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        numbers: Iterator[int] | None = None,
        stream: str = STDOUT,
        first_seq: int = 0,
        first_run: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self.journal = Journal()
        self.stream = PROXY if name == "proxy" else stream
        self._rows = self.journal.rows
        self._rings = self._chain()
        self._now = self._clock.timestamp
        self._numbers = numbers if numbers is not None else itertools.count(1)
        self._put: Callable[[str, Row, bytes], None] | None = None
        self._run = first_run
        self._first_seq = first_seq
        self._marked: Row | None = None
        self._mark = ""  # of the entry `_marked`
        self.born = (first_seq, self.start)
        """`(seq, position)` at which it begins in this life of Hostler."""
        self._limiter: Callable[[int], int] | None = None
        self._dropped = 0  # bytes that the limiter has refused since the last marker

    def keep_in(self, sink: Sink | None) -> None:
        """Hand every entry on to `sink` as well."""
        self._put = sink.put if sink is not None else None

    def limit(self, limiter: Callable[[int], int] | None) -> None:
        """Let `limiter` say, for each write, how many of its bytes are kept; the others are counted."""
        self._limiter = limiter

    def write(self, data: Data) -> None:
        """Store `data` as of this log's usual stream."""
        self.take(data, self.stream)

    def take(self, data: Data, stream: str) -> None:
        """Store `data`, which came by `stream`.

        Every byte of every engine comes through here: what it costs is in tests/benchmarks/test_logs_gate.py.
        """
        if self._limiter is not None:
            data = self._sample(data, self._limiter)
        size = len(data)
        if not size:
            return
        if self.closed:
            LogMonitor.write(self, data)
            return
        start = self._base + len(self._held)
        row = (next(self._numbers), start, start + size, self._now(), stream, self._run, DATA, None)
        rows = self._rows
        rows.append(row)
        if len(rows) > MAX_ROWS:
            self.journal.trim()
        if self._put is not None:
            self._put(self.name, row, data if type(data) is bytes else bytes(data))
        # `LogMonitor.write`, written out for all of them: three calls would be a third of the cost.
        for ring in self._rings:
            held = ring._held
            if len(held) + size > ring._bound:
                held += ring._make_room(data)
            else:
                held += data
            if ring._waiters and not ring._waking:
                ring._call_wake()
            if ring._subscribers:
                ring._publish(data)

    def _sample(self, data: Data, limiter: Callable[[int], int]) -> Data:
        size = len(data)
        kept = limiter(size)
        if kept and self._dropped:
            self._tell_dropped()
        self._dropped += size - kept
        return data if kept == size else bytes(data)[:kept]

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self.skip(dropped)

    def skip(self, size: int) -> None:
        """Say that `size` bytes were not kept: a line in the bytes, a gap among the records."""
        held = self.read(self.end - 1, 1)[0] if self.end > self.start else b"\n"
        marker = gap_line(size, line_cut=held != b"\n")
        self._add(GAP, {"missed": size}, marker)
        LogMonitor.write(self, marker)

    def event(self, kind: str, info: Mapping[str, Any]) -> None:
        """Note a start or an exit between two bytes."""
        if self.closed:
            return
        self._tell_dropped()
        if self._mask is not None:
            info = _masked(info, self._mask)
        self._add(kind, info, b"")
        self.wake()

    def _add(self, kind: str, info: Mapping[str, Any], data: bytes) -> None:
        start = self.end
        row = (
            next(self._numbers), start, start + len(data), self._now(), self.stream, self._run, kind, info,
        )  # fmt: skip
        self._rows.append(row)
        if self._put is not None:
            self._put(self.name, row, data)

    def release(self) -> None:
        """Give the memory of bytes and index back: the files have all of it."""
        self._first_seq = self.newest_seq
        self.journal.forget()
        self.clear(runs=True)

    @property
    def newest_seq(self) -> int:
        """The number of the newest entry; of a log without any, the newest of an earlier life."""
        rows = self._rows
        return rows[-1][0] if rows else self._first_seq

    def mark(self) -> str:
        """The cursor behind the newest entry: what comes next is what follows it."""
        if not self._rows:
            return f"{self.epoch}:{self._first_seq}.0.{self.end}"
        row = self._rows[-1]
        if row is not self._marked:
            # Each request asks; an engine that prints nothing meanwhile has one answer for all of them.
            self._marked = row
            self._mark = f"{self.epoch}:{row[0]}.{row[2] - row[1]}.{row[2]}"
        return self._mark

    def begin_run(self, number: int) -> None:
        self._run = number
        super().begin_run(number)

    @property
    def running(self) -> bool:
        """Whether a run is going on."""
        return self._runs.current is not None

    @property
    def run(self) -> int:
        """The number of the newest run; 0 before the first one."""
        return self._run

    def pieces(self, seq: int, position: int, limit: int) -> tuple[list[Piece], int, int]:
        """What came after `seq`, from `position` on, of about `limit` bytes.

        Returns the pieces and the `(seq, position)` to go on from. What the buffer has lost is a piece too.
        """
        found: list[Piece] = []
        taken = 0
        for entry in self.journal.after(seq):
            if taken >= limit:
                break
            begin = max(position, entry.start)
            if entry.start < position and entry.end <= position:
                seq = entry.seq  # before where the reader is
                continue
            if position < entry.start:
                self._between(found, entry, position)
            taken += self._of_entry(found, entry, begin)
            seq, position = entry.seq, max(position, entry.end)
        return found, seq, position

    def _between(self, found: list[Piece], entry: Entry, position: int) -> None:
        """Bytes whose entry is gone: what is still held of them counts to the entry after them."""
        held = min(max(position, self.start), entry.start)
        if held > position:
            found.append(Piece(self.name, entry, position, held, kind=GAP))
        if entry.start > held:
            data = self.read(held, entry.start - held)[0]
            found.append(Piece(self.name, entry, held, entry.start, data))

    def _of_entry(self, found: list[Piece], entry: Entry, begin: int) -> int:
        if entry.kind == GAP or entry.end == entry.start:
            known = entry.start >= self.start
            data = self.read(entry.start, entry.end - entry.start)[0] if known else b""
            found.append(Piece(self.name, entry, entry.start, entry.end, data, entry.kind))
            return 0
        held = min(max(begin, self.start), entry.end)
        if held > begin:
            found.append(Piece(self.name, entry, begin, held, kind=GAP))
        if entry.end > held:
            found.append(Piece(self.name, entry, held, entry.end, self.read(held, entry.end - held)[0]))
        return entry.end - held


def _masked(info: Mapping[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    """`info` with every text in it masked."""
    found: dict[str, Any] = {}
    for key, value in info.items():
        if isinstance(value, Mapping):
            value = _masked(value, mask)  # noqa: PLW2901 - the same value, without its secrets
        found[key] = mask(value) if isinstance(value, str) else value
    return found

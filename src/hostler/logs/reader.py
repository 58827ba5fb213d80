"""Reading several logs as one, from files and from memory, in the order in which their entries came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING

from hostler.clock import Clock
from hostler.logs.archive import SegmentReader
from hostler.logs.journal import DATA, GAP, Entry
from hostler.logs.records import MAX_LINE, Lines, Place, Record
from hostler.logs.source import Piece, SourceLog

if TYPE_CHECKING:
    from hostler.logs.files import LogFiles
    from hostler.logs.hub import LogHub

# Bytes taken of one log at a time; the others get their turns between.
LIMIT = 262_144
# A line that is not finished is handed out after this long: prompts and progress bars have no end of line.
PARTIAL_SECONDS = 0.15
# How far back a reader goes for the beginnings of lines that were open at its cursor: sixteen of the longest.
# What it does not find there it counts as missed.
BACK = 16 * MAX_LINE


class Origin(Enum):
    """Where a reader begins that has no cursor."""

    OLDEST = "oldest"
    RECENT = "recent"  # what the buffer holds or, of a log that is on disk only, as much
    END = "end"


class _State:
    """How far one log has been read."""

    def __init__(self, source: SourceLog) -> None:
        self.source = source
        self.seq = 0
        self.position = 0
        self.end = source.end  # when the reader began
        self.end_seq = source.newest_seq
        self.pieces: deque[Piece] = deque()
        self.disk: SegmentReader | None = None
        self.read_to = -1  # where the files ended when they were last read
        self.from_files = False
        self.wanted: int | None = None  # the position to begin at, or the oldest after it
        self.locate = False  # the files have to say which position or which number belongs to the other

    @property
    def behind_memory(self) -> bool:
        """Whether the buffer has passed what comes next."""
        return self.position < self.source.start


class RecordReader:
    """One reader of any number of logs. `start` it once, then read `records`, any number of times."""

    def __init__(
        self,
        sources: Sequence[SourceLog],
        files: LogFiles | None,
        *,
        everything: bool,
        hub: LogHub,
        clock: Clock,
    ) -> None:
        self.given = 0
        self._files = files
        self._hub = hub
        self._clock = clock
        self._everything = everything
        self._states = {source.name: _State(source) for source in sources}
        self._single = len(sources) == 1 and not everything
        self._lines = Lines(single=self._single)
        self._after = Place(0, 0)
        self._settled = True
        self._pending: deque[Record] = deque()
        self.lost = False

    # -- where to begin -------------------------------------------------------------------------------------

    def start(self, place: Place | None, origin: Origin) -> None:
        """Begin behind `place`, or by `origin`."""
        for state in self._states.values():
            if place is not None:
                self._start_behind(state, place)
            elif origin is Origin.END:
                state.seq, state.position = state.source.newest_seq, state.source.end
            else:
                self._start_by(state, origin)
        if place is not None:
            self._after = place
            self._settled = False
            self._lines.resume(place)

    def _start_by(self, state: _State, origin: Origin) -> None:
        source = state.source
        if self._files is not None and (origin is Origin.OLDEST or source.start == source.end):
            wanted = 0 if origin is Origin.OLDEST else max(0, source.end - source.capacity)
            state.from_files, state.wanted = True, wanted
            return
        state.position = source.start
        state.seq = source.journal.at(source.start)

    def _start_behind(self, state: _State, place: Place) -> None:
        source = state.source
        state.seq = place.seq - 1  # of the entry itself there may be a rest
        entry = source.journal.get(place.seq)
        known = True
        if entry is not None:
            state.position = min(entry.start + place.offset, entry.end)
        elif place.position is not None:
            state.position = min(place.position, source.end)
        else:
            state.position = _position_behind(source, place.seq)
            known = 0 < source.journal.oldest <= place.seq
        lowest = source.start
        if self._files is not None and not (known and state.position - BACK >= source.start):
            state.from_files, lowest = True, 0
            state.locate = not known
        self.lost = self.lost or state.position < lowest
        if state.position >= lowest and (place.open or place.partial):
            self._back_up(state, lowest)

    def _back_up(self, state: _State, lowest: int) -> None:
        """Go to where lines began that were open at the place; nothing is given twice."""
        position = max(lowest, state.position - BACK)
        if position == state.position:
            return
        if state.from_files:
            state.seq, state.position = min(state.seq, state.source.journal.at(position)), position
            state.locate = True
        else:
            state.position = position
            state.seq = min(state.seq, state.source.journal.at(position))

    @property
    def earliest(self) -> Place:
        """The oldest place that can be read from."""
        return min(
            (Place(max(state.source.journal.oldest - 1, 0), 0) for state in self._states.values()),
            key=lambda place: place.order,
            default=Place(0, 0),
        )

    def announce_loss(self) -> None:
        """Begin with a gap of which nobody knows the size."""
        state = next(iter(self._states.values()), None)
        name = state.source.name if state is not None else "proxy"
        time = self._clock.wall().timestamp()
        self._pending.append(
            Record(GAP, name, 0, "proxy", time, Place(0, 0, 0 if self._single else None), missed=None)
        )

    # -- reading --------------------------------------------------------------------------------------------

    async def records(self, *, until_now: bool) -> AsyncIterator[Record]:
        """Records as they come; with `until_now` those that were there when the reader was made."""
        while True:
            while self._pending:
                record = self._pending.popleft()
                if record.kind == GAP and (log := self._hub.find(record.model)) is not None:
                    log.count_gap(record.missed)
                yield record
            piece = await self._next(until_now)
            if piece is not None:
                self._take(piece)
                continue
            if not self._settled:
                self._settle()
                continue
            if until_now:
                return
            if not await self._wait():
                self._pending.extend(self._lines.flush())
                if not self._pending:
                    return

    def _take(self, piece: Piece) -> None:
        after = self._after
        if not self._settled:
            if (piece.entry.seq, piece.offset) <= after.order:
                self._feed(piece)
                return
            at = piece.entry.start + after.offset
            if piece.entry.seq == after.seq and piece.kind == DATA and piece.start < at < piece.end:
                self._feed(replace(piece, end=at, data=piece.data[: at - piece.start]))
                piece = replace(piece, start=at, data=piece.data[at - piece.start :])
            self._settle()
        self._feed(piece)

    def _feed(self, piece: Piece) -> None:
        after = self._after.order
        self._pending.extend(record for record in self._lines.feed(piece) if record.place.order > after)

    def _settle(self) -> None:
        """Everything up to the cursor was read again; of lines that were open there, some may be gone."""
        if self._settled:
            return
        self._settled = True
        missed = self._after.open - self._lines.unfinished
        if missed > 0:
            name = next(iter(self._states), "proxy")
            time = self._clock.wall().timestamp()
            place = replace(self._after, partial=(), open=self._lines.unfinished)
            self._pending.append(Record(GAP, name, 0, "stdout", time, place, missed=missed))

    async def _next(self, until_now: bool) -> Piece | None:
        """The oldest piece that no log has given yet."""
        if self._everything:
            for source in self._hub.sources():
                if source.name not in self._states:
                    self._states[source.name] = _State(source)
        while True:
            best: _State | None = None
            for state in self._states.values():
                if not state.pieces and await self._fill(state):
                    # Time has passed: the others may have got something older than this.
                    best = None
                    break
                if state.pieces and (best is None or state.pieces[0].entry.seq < best.pieces[0].entry.seq):
                    best = state
            else:
                if best is None:
                    return None
                if until_now and best.pieces[0].entry.seq > best.end_seq:
                    return None
                return best.pieces.popleft()

    async def _fill(self, state: _State) -> bool:
        """Get the next pieces of one log; whether that took time."""
        if self._files is not None and (state.from_files or state.behind_memory):
            return await self._fill_from_files(state)
        pieces, state.seq, state.position = state.source.pieces(state.seq, state.position, LIMIT)
        state.pieces.extend(pieces)
        return False

    async def _fill_from_files(self, state: _State) -> bool:
        assert self._files is not None
        source = state.source
        if state.disk is None:
            await self._files.flushed()
            if state.wanted is not None:
                at = self._files.archive.at
                state.seq, state.position = await asyncio.to_thread(at, source.name, state.wanted)
                state.wanted = None
            if state.locate:
                state.locate = False
                state.seq, state.position = await asyncio.to_thread(_in_files, self._files, state)
            state.disk = await asyncio.to_thread(
                self._files.archive.reader, source.name, state.seq, state.position
            )
        pieces = await asyncio.to_thread(state.disk.next, LIMIT)
        if pieces:
            state.pieces.extend(pieces)
            state.seq, state.position = state.disk.seq, state.disk.position
            return True
        state.disk.close()
        state.disk = None
        state.from_files = False
        if state.behind_memory and state.read_to >= state.position:
            # The files do not have it either: the rest of memory says what is missing.
            found, state.seq, state.position = source.pieces(state.seq, state.position, LIMIT)
            if not found and source.end > state.position:
                found = [self._gap(source, state.seq, state.position, source.end)]
                state.position = source.end
            state.pieces.extend(found)
        state.read_to = state.position
        return True

    def _gap(self, source: SourceLog, seq: int, start: int, end: int) -> Piece:
        entry = Entry(seq, start, end, self._clock.wall().timestamp(), source.stream, source.run, GAP)
        return Piece(source.name, entry, start, end, kind=GAP)

    async def _wait(self) -> bool:
        """Until some log has more; False when no log will, or an unfinished line has waited long enough."""
        open_sources = [state.source for state in self._states.values() if not state.source.closed]
        if self._everything:
            open_sources.append(self._hub.combined)  # type: ignore[arg-type]  # woken by all, those to come too
        if not open_sources:
            return False
        waiters = {source.register_waiter(): source for source in open_sources}
        try:
            timeout = PARTIAL_SECONDS if self._lines.unfinished else None
            done, _ = await asyncio.wait(waiters, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter, source in waiters.items():
                source.forget_waiter(waiter)
        if done:
            return True
        self._pending.extend(self._lines.flush())
        return True

    def rest(self) -> list[Record]:
        """The lines that have begun and will not be waited for."""
        return list(self._lines.flush())

    def close(self) -> None:
        """Let go of the files."""
        for state in self._states.values():
            if state.disk is not None:
                state.disk.close()
                state.disk = None


def _position_behind(source: SourceLog, seq: int) -> int:
    for entry in source.journal.after(seq):
        return entry.start
    return source.end


def _in_files(files: LogFiles, state: _State) -> tuple[int, int]:
    """`(seq, position)` of the segment from which to read so that nothing behind the state's is left out."""
    chosen = None
    for segment in files.archive.segments(state.source.name):
        if chosen is None or (segment.seq <= state.seq + 1 and segment.position <= state.position):
            chosen = segment
    if chosen is None:
        return state.seq, state.position
    return min(chosen.seq - 1, state.seq), min(chosen.position, state.position)

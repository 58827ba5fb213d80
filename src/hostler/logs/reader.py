"""Reading several logs as one sequence of records: where to begin, and what of it was had before."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from hostler.clock import Clock
from hostler.logs.archive import Archive
from hostler.logs.journal import DATA, GAP
from hostler.logs.merge import Merge, Spot, State, at
from hostler.logs.records import MAX_LINE, Lines, Place, Record
from hostler.logs.source import Piece, SourceLog

if TYPE_CHECKING:
    from hostler.logs.files import LogFiles
    from hostler.logs.hub import LogHub

# A line that is not finished is handed out after this long: prompts and progress bars have no end of line.
PARTIAL_SECONDS = 0.15
# How far back a reader goes for the beginnings of lines that were open at its cursor: sixteen of the longest.
# What it does not find there it counts as missed.
BACK = 16 * MAX_LINE
# Records of so many bytes are made in one go: a reader that is slow holds no more of them.
PART_BYTES = 32_768


class Origin(Enum):
    """Where a reader begins that has no cursor."""

    OLDEST = "oldest"
    RECENT = "recent"  # what the buffer holds or, of a log that is on disk only, as much
    END = "end"


@dataclass(frozen=True, slots=True)
class Part:
    """Of a history, the newest `size` bytes of each log, or what came at `since` or later, or one `run`."""

    size: int | None = None
    since: float | None = None
    run: int | None = None


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
        self._hub = hub
        self._clock = clock
        self._merge = Merge(sources, files, everything=everything, hub=hub, clock=clock)
        self._single = len(sources) == 1 and not everything
        self._view = 0 if everything else crc32("\n".join(self._merge.states).encode()) % 1_000_000 or 1
        self._lines = Lines(single=self._single, view=self._view)
        self._after = Place(0, 0)
        self._settled = True
        self._pending: list[Record] = []
        self._parts: deque[Piece] = deque()
        self._floors: dict[str, int] = {}
        self.lost = False
        """Whether something is gone directly behind the place where it began."""
        self.whole_after = (0, -1)
        """Up to this order not every record is there: of some log, older bytes were left out."""

    # -- where to begin -------------------------------------------------------------------------------------

    def start(self, place: Place | None, origin: Origin, part: Part | None = None) -> None:
        """Begin behind `place`, or by `origin`; with `part`, only at that part of a whole history."""
        for state in self._merge:
            if place is not None:
                self._start_behind(state, place)
            elif origin is Origin.END:
                state.begin(state.source.newest_seq, state.source.end)
            elif origin is Origin.OLDEST and part is not None:
                self._start_part(state, part)
            else:
                self._start_by(state, origin)
        if place is not None:
            if place.order == (0, 0):  # nothing was had, of whichever logs
                place = place._replace(total=None if self._single else 0, view=self._view)
            self._after = place
            self._settled = False
            self._lines.resume(place)

    def _start_by(self, state: State, origin: Origin) -> None:
        source = state.source
        if self._merge.files is not None and (origin is Origin.OLDEST or source.start == source.end):
            wanted = 0 if origin is Origin.OLDEST else max(0, source.end - source.capacity)
            state.begin_in_files(partial(at, source.name, wanted))
            return
        state.begin(source.journal.at(source.start), source.start)

    def _start_part(self, state: State, part: Part) -> None:
        source = state.source
        position: int | None
        find: Callable[[Archive], Spot]
        if part.size is not None:
            floor = max(0, source.end - part.size)
            if floor > (0 if self._merge.files is not None else source.start):
                self._floors[source.name] = floor
            position = max(0, floor - BACK)
            find = partial(at, source.name, position)
        elif part.since is not None:
            position = source.journal.since(part.since)
            position = max(0, position - BACK) if position is not None else None
            find = partial(_since, source.name, part.since)
        else:
            position = source.journal.of_run(part.run or 0)
            find = partial(_run, source.name, part.run or 0)
        if self._merge.files is not None and (position is None or position < source.start):
            state.begin_in_files(find)
        else:
            position = max(position or 0, source.start)
            state.begin(source.journal.at(position), position)

    def _start_behind(self, state: State, place: Place) -> None:
        source = state.source
        seq = place.seq - 1  # of the entry itself there may be a rest
        entry = source.journal.get(place.seq)
        known = True
        if entry is not None:
            position = min(entry.start + place.offset, entry.end)
        elif place.position is not None:
            position = min(place.position, source.end)
        else:
            position = _position_behind(source, place.seq)
            known = 0 < source.journal.oldest <= place.seq
        state.begin(seq, position)
        lowest = source.start
        if self._merge.files is not None and not (known and position - BACK >= source.start):
            lowest = 0
            state.begin_in_files(None if known else partial(_in_files, source.name, seq, position))
        self.lost = self.lost or position < lowest
        if position >= lowest and (place.open or place.partial):
            self._back_up(state, lowest)

    def _back_up(self, state: State, lowest: int) -> None:
        """Go to where lines began that were open at the place; nothing is given twice."""
        rows = state.source.journal.rows
        if not state.from_files:
            # What was handed out before its end is told by where entries end.
            lowest = max(lowest, rows[0][1]) if rows else state.position
        position = max(lowest, state.position - BACK)
        if position >= state.position:
            return
        seq = min(state.seq, state.source.journal.at(position))
        state.begin(seq, position)
        if state.from_files:
            state.begin_in_files(partial(_in_files, state.source.name, seq, position))

    @property
    def is_part(self) -> bool:
        """Whether older bytes were left out, of what `Part.size` asked for."""
        return bool(self._floors) or self.whole_after[0] > 0

    def earliest(self) -> Place:
        """The oldest place behind which all logs have all there is. Blocks where there are files."""
        archive = self._merge.files.archive if self._merge.files is not None else None
        places = [_oldest(state.source, archive) for state in self._merge]
        place = max(places, key=lambda place: place.order, default=Place(0, 0))
        return place if self._single else place._replace(position=None)

    async def settle(self) -> None:
        """Read up to the cursor: only then `lost` is sure."""
        while not self._settled:
            if self._parts:
                self._take(self._parts.popleft())
            elif (piece := await self._merge.next(until_now=True)) is not None:
                self._divide(piece)
            else:
                self._settle()

    def announce_loss(self) -> None:
        """Begin with a gap of which nobody knows the size."""
        self.lost = True
        state = next(iter(self._merge), None)
        name = state.source.name if state is not None else "proxy"
        time = self._clock.timestamp()
        self._pending.append(
            Record(GAP, name, 0, "proxy", time, Place(0, 0, 0 if self._single else None), missed=None)
        )

    # -- reading --------------------------------------------------------------------------------------------

    async def batches(self, *, until_now: bool) -> AsyncIterator[list[Record]]:
        """Records as they come, those that are ready together in one list; with `until_now` those that were
        there when the reader was made.
        """
        while True:
            if self._pending:
                batch, self._pending = _one_gap(self._pending), []
                for record in batch:
                    if record.kind == GAP and (log := self._hub.find(record.model)) is not None:
                        log.count_gap(record.missed)
                yield batch
            elif self._parts:
                self._take(self._parts.popleft())
            elif (piece := await self._merge.next(until_now=until_now)) is not None:
                self._divide(piece)
            elif not self._settled:
                self._settle()
            elif until_now:
                return
            elif not await self._wait():
                self._pending.extend(self._lines.flush())
                if not self._pending:
                    return

    def _divide(self, piece: Piece) -> None:
        if self._floors:
            self._pass_floor(piece)
        if not self._single:
            self._lines.total = self._merge.total - (piece.end - piece.start)
        self._parts.extend(piece.parts(PART_BYTES))

    def _pass_floor(self, piece: Piece) -> None:
        """Behind the floor every line of this log is whole; before it some are not there."""
        floor = self._floors.get(piece.source)
        if floor is not None and piece.end > floor:
            del self._floors[piece.source]
            offset = floor - piece.entry.start
            self.whole_after = max(self.whole_after, (piece.entry.seq, offset if offset > 0 else -1))

    def _take(self, piece: Piece) -> None:
        if not self._settled:
            at = self._cursor_in(piece)
            if at >= piece.end and (piece.end > piece.start or at > piece.end):
                self._feed(piece)
                return
            if at > piece.start:
                if piece.kind == DATA:
                    self._feed(replace(piece, end=at, data=piece.data[: at - piece.start]))
                piece = replace(piece, start=at, data=piece.data[at - piece.start :])
            self.lost = self.lost or piece.vanished
            if self._settle(piece):
                return
        self._feed(piece)

    def _cursor_in(self, piece: Piece) -> int:
        """Up to which position a piece was had before; behind its end for an event that was."""
        after = self._after
        had = (piece.entry.seq, piece.offset) <= after.order
        if piece.kind == DATA or piece.vanished:
            if after.position is not None:
                return min(max(after.position, piece.start), piece.end)
            if piece.kind == DATA and piece.entry.seq == after.seq:
                return min(max(piece.entry.start + after.offset, piece.start), piece.end)
            return piece.end if had else piece.start
        return piece.end + 1 if had else piece.start

    def _feed(self, piece: Piece) -> None:
        records = self._lines.feed(piece)
        if self._settled:
            self._pending.extend(records)
        else:
            deque(records, maxlen=0)  # they were had

    def _settle(self, piece: Piece | None = None) -> bool:
        """Everything up to the cursor was read again; of lines that were open there, some may be gone.

        `piece` comes next; whether it is bytes that are gone, and was counted here.
        """
        self._settled = True
        missed = max(0, self._after.open - self._lines.unfinished)
        found = self._lines.total if piece is not None else self._merge.total
        counted = False
        if found is not None and self._after.total is not None and self._after.view == self._view:
            # Of some of these logs the bytes directly behind the cursor are gone. Where in each of them the
            # cursor was is not known, so a gap may begin before it: only the sum says how many were not had.
            counted = piece is not None and piece.vanished
            found += piece.end - piece.start if counted and piece is not None else 0
            found += self._merge.pass_vanished()
            missed += max(0, found - self._after.total)
            self._lines.total = found
        if missed > 0:
            self.lost = True
            name = next(iter(self._merge.states), "proxy") if self._single else ""
            total = None if self._single else found
            place = self._after._replace(
                partial=(), open=self._lines.unfinished, total=total, view=self._view
            )
            self._lines.jump(place)
            self._pending.append(
                Record(GAP, name, 0, "stdout", self._clock.timestamp(), place, missed=missed)
            )
        return counted

    async def _wait(self) -> bool:
        """Until some log has more, or an unfinished line has waited long enough; False when no log will."""
        found = await self._merge.wait(PARTIAL_SECONDS if self._lines.unfinished else None)
        if found is None:
            self._pending.extend(self._lines.flush())
        return found is not False

    def rest(self) -> list[Record]:
        """The lines that have begun and will not be waited for."""
        return list(self._lines.flush())

    def close(self) -> None:
        """Let go of the files."""
        self._merge.close()


def _one_gap(records: list[Record]) -> list[Record]:
    """The same, with a first gap and a second one of the same log in one record."""
    if len(records) < 2 or records[1].kind != GAP:
        return records
    first, second = records[:2]
    if first.kind != GAP or first.model != second.model or first.missed is None or second.missed is None:
        return records
    return [second._replace(missed=first.missed + second.missed), *records[2:]]


def _position_behind(source: SourceLog, seq: int) -> int:
    for entry in source.journal.after(seq):
        return entry.start
    return source.end


def _oldest(source: SourceLog, archive: Archive | None) -> Place:
    """The place before the oldest bytes held of a log."""
    rows = source.journal.rows
    position = max(source.start, rows[0][1]) if rows else source.end
    entry = next(source.journal.after(source.journal.at(position)), None)
    if entry is None:
        place = Place(source.newest_seq, 0, position)
    elif position == entry.start:
        place = Place(entry.seq - 1, 0, position)  # an entry may be an event, which is still to come
    else:
        place = Place(entry.seq, position - entry.start, position)
    segments = archive.segments(source.name) if archive is not None else []
    if segments and segments[0].position < position:
        place = Place(segments[0].seq - 1, 0, segments[0].position)
    return place if place.position else Place(0, 0, 0)


def _run(name: str, run: int, archive: Archive) -> Spot:
    return archive.run(name, run)


def _since(name: str, time: float, archive: Archive) -> Spot:
    return archive.at(name, max(0, archive.since(name, time) - BACK))


def _in_files(name: str, seq: int, position: int, archive: Archive) -> Spot:
    """Of the segment from which to read so that nothing behind the place is left out."""
    chosen = None
    for segment in archive.segments(name):
        if chosen is None or (segment.seq <= seq + 1 and segment.position <= position):
            chosen = segment
    if chosen is None:
        return seq, position
    return min(chosen.seq - 1, seq), min(chosen.position, position)

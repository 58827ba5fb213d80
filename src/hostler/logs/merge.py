"""Any number of logs as one sequence of pieces, from files and from memory, in the order they came in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hostler.clock import Clock
from hostler.logs.archive import Archive, SegmentReader
from hostler.logs.journal import GAP, Entry
from hostler.logs.source import Piece, SourceLog, joined

if TYPE_CHECKING:
    from hostler.logs.files import LogFiles
    from hostler.logs.hub import LogHub

# Bytes taken of one log at a time; the others get their turns between.
LIMIT = 131_072
Spot = tuple[int, int]
"""`(seq, position)`: what comes next has a number above the one, and begins at or after the other."""


class State:
    """How far one log has been read."""

    __slots__ = (
        "disk", "end", "end_seq", "find", "from_files", "pieces", "position", "seq", "source",
    )  # fmt: skip

    def __init__(self, source: SourceLog, spot: Spot) -> None:
        self.source = source
        self.seq, self.position = spot
        self.end = source.end  # when the reader began
        self.end_seq = source.newest_seq
        self.pieces: deque[Piece] = deque()
        self.disk: SegmentReader | None = None
        self.from_files = False
        self.find: Callable[[Archive], Spot] | None = None  # asked, in a thread, where in the files to begin

    @property
    def behind_memory(self) -> bool:
        """Whether the buffer has passed what comes next."""
        return self.position < self.source.start

    @property
    def in_memory(self) -> bool:
        """Whether the buffer and its index have all that comes next."""
        rows = self.source.journal.rows
        known = bool(rows) and (rows[0][0] <= self.seq or rows[0][1] < self.position)
        return known and self.find is None and not self.behind_memory

    def begin(self, seq: int, position: int) -> None:
        """Begin there, in memory."""
        self.seq, self.position = seq, position

    def begin_in_files(self, find: Callable[[Archive], Spot] | None) -> None:
        """Begin in the files, at what `find` says."""
        self.from_files, self.find = True, find

    @property
    def spot(self) -> Spot:
        """Where it goes on."""
        return self.seq, self.position


class Merge:
    """One reader of any number of logs; with `everything` also of those that come to be meanwhile.

    Begins at `spots`, or for logs not named there where they begin in this life of Hostler.
    """

    def __init__(
        self,
        sources: Sequence[SourceLog],
        files: LogFiles | None,
        *,
        everything: bool,
        hub: LogHub,
        clock: Clock,
        spots: Mapping[str, Spot] | None = None,
    ) -> None:
        self.files = files
        self._hub = hub
        self._clock = clock
        self._everything = everything
        known = spots or {}
        self.states = {source.name: State(source, known.get(source.name, source.born)) for source in sources}

    def __iter__(self) -> Iterator[State]:
        return iter(self.states.values())

    @property
    def spots(self) -> dict[str, Spot]:
        """Where each log goes on; true when `next` has just given nothing."""
        return {name: state.spot for name, state in self.states.items()}

    @property
    def total(self) -> int:
        """The sum of the positions at which the logs go on."""
        return sum(state.pieces[0].start if state.pieces else state.position for state in self)

    def pass_vanished(self) -> int:
        """Leave out what is gone directly behind where each log goes on; how many bytes that is."""
        size = 0
        for state in self:
            while state.pieces and state.pieces[0].vanished:
                gone = state.pieces.popleft()
                size += gone.end - gone.start
        return size

    async def next(self, *, until_now: bool) -> Piece | None:
        """The oldest piece that no log has given yet; None when there is none.

        With `until_now`, of those that were there when the reader was made. Between the last look and a None
        nothing is awaited: all that was written until then has been given.
        """
        if self._everything:
            for source in self._hub.sources():
                if source.name not in self.states:
                    self.states[source.name] = State(source, source.born)
        while True:
            best: State | None = None
            for state in self.states.values():
                if not state.pieces and await self._fill(state):
                    # Time has passed: the others may have got something older than this.
                    best = None
                    break
                if state.pieces and (best is None or state.pieces[0].entry.seq < best.pieces[0].entry.seq):
                    best = state
            else:
                if best is None or (until_now and best.pieces[0].entry.seq > best.end_seq):
                    return None
                return best.pieces.popleft()

    async def wait(self, timeout: float | None) -> bool | None:
        """Until some log has more; None when the time was up, False when no log will ever have more."""
        sources = [state.source for state in self if not state.source.closed]
        if self._everything and not self._hub.combined.closed:
            # Woken by all, those to come too.
            waiters = {self._hub.combined.register_waiter(): self._hub.combined}
        else:
            waiters = {source.register_waiter(): source for source in sources}
        if not waiters:
            return False
        try:
            done, _ = await asyncio.wait(waiters, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter, source in waiters.items():
                source.forget_waiter(waiter)
        return True if done else None

    def close(self) -> None:
        """Let go of the files."""
        for state in self:
            if state.disk is not None:
                state.disk.close()
                state.disk = None

    # -- inner --------------------------------------------------------------------------------------------

    async def _fill(self, state: State) -> bool:
        """Get the next pieces of one log; whether that took time."""
        # Memory is quicker, and in files that are short of room the oldest bytes of a log that is seldom
        # written to may be gone while it holds them.
        state.from_files = state.from_files and not state.in_memory
        if self.files is not None and (state.from_files or state.behind_memory):
            await self._fill_from_files(state, self.files)
            return True
        pieces, state.seq, state.position = state.source.pieces(state.seq, state.position, LIMIT)
        state.pieces.extend(joined(pieces))
        return False

    async def _fill_from_files(self, state: State, files: LogFiles) -> None:
        source = state.source
        passed = source.start if state.behind_memory else -1
        complete = state.disk is None or state.disk.at_end
        if complete:
            await files.flushed()
        pieces = await asyncio.to_thread(_read, files.archive, state)
        if pieces:
            state.pieces.extend(joined(self._held(state, pieces)))
            return
        if not complete:
            return  # it was at the end of what was on disk, not of what was written
        state.from_files = False
        if state.position < passed:
            # All that the buffer had passed was to be on disk by now: the files do not have it either.
            last = source.journal.at(passed) if len(source.journal) else source.newest_seq
            seq = max(state.seq, last)
            state.pieces.append(self._gap(source, seq, state.position, passed))
            state.begin(seq, passed)

    def _held(self, state: State, pieces: list[Piece]) -> list[Piece]:
        """Pieces of the files, up to bytes that are gone from them and held in memory."""
        source = state.source
        rows = source.journal.rows
        held = max(source.start, rows[0][1]) if rows else source.end
        for place, piece in enumerate(pieces):
            if piece.vanished and held < piece.end:
                seq = source.journal.at(held)
                begin = max(piece.start, held)
                found = pieces[:place]
                if piece.start < begin:
                    entry = next(source.journal.after(seq), piece.entry)
                    found.append(Piece(source.name, entry, piece.start, begin, kind=GAP))
                state.from_files = False
                state.begin(seq, begin)
                if state.disk is not None:  # it is ahead of that
                    state.disk.close()
                    state.disk = None
                return found
        return pieces

    def _gap(self, source: SourceLog, seq: int, start: int, end: int) -> Piece:
        entry = Entry(seq, start, end, self._clock.timestamp(), source.stream, source.run, GAP)
        return Piece(source.name, entry, start, end, kind=GAP)


def at(name: str, position: int, archive: Archive) -> Spot:
    """Where to begin in the files so that bytes from `position` on come, or the oldest ones."""
    return archive.at(name, position)


def _read(archive: Archive, state: State) -> list[Piece]:
    """The next pieces that the files have; in a thread."""
    if state.find is not None:
        state.begin(*state.find(archive))
        state.find = None
    if state.disk is None:
        state.disk = archive.reader(state.source.name, state.seq, state.position)
    disk = state.disk
    disk.skip_to(state.seq, state.position)  # what came from memory meanwhile
    pieces = disk.next(LIMIT)
    state.begin(disk.seq, disk.position)
    return pieces

"""What lies where in a log: a compact index of its bytes, by arrival. Pure.

Every read of a pipe, and every line of the proxy's own, is an entry: where its bytes are, when they came, by
which stream, in which run. Starts and exits of runs are entries without bytes. `seq` counts the entries of
all logs together, so it orders them all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

# Entries kept for each log, and how many there may be before the oldest go in one stroke. A reader that was
# away for longer than the buffer lasts is told how many bytes it missed from these; at 200 bytes each they
# take less than two megabytes.
MAX_ENTRIES = 4096
MAX_ROWS = 2 * MAX_ENTRIES

DATA, START, EXIT, GAP = "data", "start", "exit", "gap"
PROXY, STDOUT, STDERR = "proxy", "stdout", "stderr"

Row = tuple[int, int, int, float, str, int, str, Mapping[str, Any] | None]
"""An entry as it is kept: to make a plain tuple costs a quarter of making an `Entry`."""


class Entry(NamedTuple):
    """Bytes `start` to `end` of one log, or an event between two of them (then `start` is `end`).

    `time` is wall time in seconds since 1970. `info` describes an event.
    """

    seq: int
    start: int
    end: int
    time: float
    stream: str
    run: int
    kind: str = DATA
    info: Mapping[str, Any] | None = None


class Journal:
    """The newest entries of one log, in the order in which they came."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: list[Row] = []
        """The one writer appends here, numbers that only grow, and trims when there are `MAX_ROWS`."""

    def __len__(self) -> int:
        return len(self.rows)

    def trim(self) -> None:
        """Let the oldest go: seldom, and many in one stroke, because each stroke moves all that stay."""
        del self.rows[:-MAX_ENTRIES]

    def after(self, seq: int) -> Iterator[Entry]:
        """The entries that came after `seq`, oldest first."""
        rows = self.rows
        for index in range(bisect_right(rows, seq, key=_seq), len(rows)):
            yield Entry._make(rows[index])

    def at(self, position: int) -> int:
        """The seq before the first entry that may have something at or after `position`."""
        place = bisect_left(self.rows, position, key=_end)
        return self.rows[place - 1][0] if place else self.oldest - 1

    def since(self, time: float) -> int | None:
        """The position from which on everything that came at `time` or later is; None where that is older
        than what is known here.
        """
        return self._first_from(_time, time)

    def of_run(self, run: int) -> int | None:
        """The position where the entries of a run begin; None where that is older than what is known here."""
        return self._first_from(_run, run)

    def _first_from(self, key: Callable[[Row], float], value: float) -> int | None:
        place = bisect_left(self.rows, value, key=key)
        if place == 0:
            return None
        return self.rows[place][1] if place < len(self.rows) else self.rows[-1][2]

    def get(self, seq: int) -> Entry | None:
        """The entry of that number, if it is one of this log and still known."""
        place = bisect_right(self.rows, seq, key=_seq) - 1
        if place < 0 or self.rows[place][0] != seq:
            return None
        return Entry._make(self.rows[place])

    def forget(self) -> None:
        """Give the memory back: the files know all of it."""
        self.rows.clear()

    @property
    def newest(self) -> int:
        """The seq of the newest entry; 0 when there is none."""
        return self.rows[-1][0] if self.rows else 0

    @property
    def oldest(self) -> int:
        """The seq of the oldest entry known; 0 when there is none."""
        return self.rows[0][0] if self.rows else 0


_seq = itemgetter(0)
_end = itemgetter(2)
_time = itemgetter(3)
_run = itemgetter(5)

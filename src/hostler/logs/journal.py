"""What lies where in a log: a compact index of its bytes, by arrival. Pure.

Every read of a pipe, and every line of the proxy's own, is an entry: where its bytes are, when they came, by
which stream, in which run. Starts and exits of runs are entries without bytes. `seq` counts the entries of
all logs together, so it orders them all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Entries kept for each log. A reader that was away for longer than the buffer lasts is told how many bytes it
# missed from these; at 100 bytes each they are as much memory as the buffer.
MAX_ENTRIES = 8192

DATA, START, EXIT, GAP = "data", "start", "exit", "gap"
PROXY, STDOUT, STDERR = "proxy", "stdout", "stderr"


@dataclass(frozen=True, slots=True)
class Entry:
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

    __slots__ = ("_entries", "_first")

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._first = 0  # entries before this place of the list are gone

    def __len__(self) -> int:
        return len(self._entries) - self._first

    def add(self, entry: Entry) -> None:
        """Append `entry`; its `seq` is above all others."""
        self._entries.append(entry)
        if len(self._entries) - self._first > MAX_ENTRIES:
            self._first += 1
            if self._first > MAX_ENTRIES:
                # Now and then, in one go: what is cut off each time would cost each time.
                del self._entries[: self._first]
                self._first = 0

    def after(self, seq: int) -> Iterator[Entry]:
        """The entries that came after `seq`, oldest first."""
        place = max(bisect_right(self._entries, seq, key=_seq), self._first)
        for index in range(place, len(self._entries)):
            yield self._entries[index]

    def at(self, position: int) -> int:
        """The seq before the first entry that may have something at or after `position`."""
        place = max(bisect_left(self._entries, position, key=_end), self._first)
        return self._entries[place - 1].seq if place > self._first else self.oldest - 1

    def get(self, seq: int) -> Entry | None:
        """The entry of that number, if it is one of this log and still known."""
        place = bisect_right(self._entries, seq, key=_seq) - 1
        if place < self._first or self._entries[place].seq != seq:
            return None
        return self._entries[place]

    @property
    def newest(self) -> int:
        """The seq of the newest entry; 0 when there is none."""
        return self._entries[-1].seq if len(self) else 0

    @property
    def oldest(self) -> int:
        """The seq of the oldest entry known; 0 when there is none."""
        return self._entries[self._first].seq if len(self) else 0


def _seq(entry: Entry) -> int:
    return entry.seq


def _end(entry: Entry) -> int:
    return entry.end

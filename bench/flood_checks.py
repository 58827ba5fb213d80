"""What followers of floods are given, laid over what the engines print: each byte delivered or counted."""

from __future__ import annotations

import mmap
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bench.flood_engine import MARKS

# A line that says "gap", as the raw text has it.
GAP_CUT: Final = b"\n[hostler] gap: "
GAP: Final = b"[hostler] gap: "
LEVELS: Final = (b"INFO:", *(mark for _, mark in MARKS))
HEADER: Final = 40  # no line's beginning, up to its number, is longer
_decode = msgspec.json.Decoder().decode


@dataclass
class Truth:
    """What one engine prints in each of its runs, from the first line on."""

    name: bytes
    width: int
    text: mmap.mmap

    @property
    def first(self) -> bytes:
        """The beginning of a run."""
        return self.text[: self.text.find(b".")]

    def number(self, line: bytes) -> int | None:
        """The number of a line that is whole at its front; None for anything else."""
        parts = line.split(b" ", 3)
        # Behind a gap the last few bytes of a line may be in front of it, or its own first ones be gone.
        if (
            len(parts) == 4
            and parts[0] in LEVELS
            and parts[1] == self.name
            and parts[2].isdigit()
            and len(parts[2]) == 9
        ):
            return int(parts[2])
        return None


class Wrong(Exception):
    """A follower was given something that nobody wrote there."""


@dataclass
class Ledger:
    """What a follower has got, and where runs began as far as it saw."""

    delivered: int = 0
    missed: int = 0
    gaps: int = 0
    resumes: int = 0
    records: int = 0
    started_at: int | None = None  # offset in its run of the first byte; of records, the position
    boundaries: list[int] = field(default_factory=list)
    position: int = 0
    problem: str = ""

    @property
    def count(self) -> int:
        """All bytes accounted for."""
        return self.delivered + self.missed


class RawCheck:
    """Lays a raw text over the truth."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._pending = b""
        self.offset: int | None = None  # in the run; None: to be found out by the next whole line
        self.ledger = Ledger()
        self._trail: deque[tuple[int | None, int, str]] = deque(maxlen=12)  # for whoever looks for a fault

    def feed(self, data: bytes) -> None:
        """Check what has come, up to the last bytes, which may be the front of something else."""
        self._trail.append((self.offset, len(self._pending), f"+ {len(data)}"))
        self._pending += data
        while self._pending:
            if not (self._sync() if self.offset is None else self._step()):
                return

    def settle(self) -> None:
        """Nothing more comes: what is left has to be right as it is."""
        rest, self._pending = self._pending, b""
        if self.offset is not None and self._matching(rest) == len(rest):
            self._advance(len(rest))
        else:
            self._pending = rest

    def _sync(self) -> bool:
        """Find out where in a run it is: behind a gap, or at the beginning."""
        data = self._pending
        if data.startswith(GAP):
            return self._take_gap(0, GAP)
        at = 0
        while (number := self._truth.number(data[at : at + HEADER])) is None:
            at = data.find(b"\n", at) + 1
            if at == 0 or len(data) < at + HEADER:
                return False
        offset = number * self._truth.width - at
        if offset < 0:
            # The end of a run before it, of which no line is whole: what that was cannot be told.
            self._advance_blindly(-offset)
            self.ledger.boundaries.append(self.ledger.count)
            offset = 0
        self.offset = offset
        if self.ledger.started_at is None:
            self.ledger.started_at = offset
        return True

    def _advance_blindly(self, size: int) -> None:
        self.ledger.delivered += size
        self._pending = self._pending[size:]

    def _advance(self, size: int) -> None:
        assert self.offset is not None
        self.offset += size
        self.ledger.delivered += size
        self._pending = self._pending[size:]

    def _matching(self, data: bytes) -> int:
        """How many bytes of `data` are what the run goes on with."""
        assert self.offset is not None
        expected = self._truth.text[self.offset : self.offset + len(data)]
        if data == expected:
            return len(data)
        low, high = 0, min(len(data), len(expected))
        while low < high:
            middle = (low + high + 1) // 2
            if data[:middle] == expected[:middle]:
                low = middle
            else:
                high = middle - 1
        return low

    def _step(self) -> bool:
        data = self._pending
        good = self._matching(data)
        if good == len(data):
            # All but what may be the front of a gap or of another run.
            keep = HEADER + len(GAP_CUT)
            if good > keep:
                self._advance(good - keep)
            return False
        if len(data) - good < HEADER + len(GAP_CUT):
            return False
        return self._gap(good) or self._boundary(good)

    def _gap(self, good: int) -> bool:
        data = self._pending
        for mark in (GAP_CUT, GAP):
            at = data.find(mark, max(0, good - len(mark)), good + len(mark))
            if at < 0 or at > good:
                continue
            self._advance(at)
            return self._take_gap(0, mark)
        return False

    def _take_gap(self, at: int, mark: bytes) -> bool:
        data = self._pending
        end = data.find(b"\n", at + len(mark))
        if end < 0:
            return False
        self._pending = data[end + 1 :]
        self.ledger.missed += int(data[at + len(mark) : end].split(b" ")[0])
        self._trail.append((self.offset, len(data), data[: end + 1].decode()))
        self.ledger.gaps += 1
        self.offset = None
        return True

    def _boundary(self, good: int) -> bool:
        """Another run begins where the last one was cut off."""
        data = self._pending
        first = self._truth.first
        at = data.rfind(first, max(0, good - len(first)), good + len(first))
        if at < 0 or at > good:
            seen = data[max(0, good - 60) : good + 80]
            raise Wrong(f"offset {self.offset} + {good}: {seen!r} after {list(self._trail)}")
        self._advance(at)
        self.ledger.boundaries.append(self.ledger.count)
        self.offset = 0
        return True


class RecordCheck:
    """Checks the records of one log, of which only every `every`-th line may be wanted."""

    def __init__(self, truths: dict[str, Truth], every: int, *, single: bool) -> None:
        self._truths = truths
        self._every = every
        self._single = single
        self._next: dict[str, int | None] = dict.fromkeys(truths, 0)
        self._loose: dict[str, bool] = dict.fromkeys(truths, False)
        self._order = (0, -1)
        self.at: dict[str, int] = dict.fromkeys(truths, 0)
        self.cursor = ""
        self.together = 0
        """Bytes missed of which it is not known to which log they belong."""
        self.ledger = Ledger()

    def feed(self, line: bytes) -> None:
        """Check one record."""
        record = _decode(line)
        model = record["model"]
        if record["kind"] == "gap" and not model:  # of several logs together
            self.ledger.missed += record["missed"]
            self.ledger.gaps += 1
            self._next = dict.fromkeys(self._truths, None)
            self._loose = dict.fromkeys(self._truths, True)
            self.together += record["missed"]
            self.cursor = record["cursor"]
            return
        if model not in self._truths:  # the proxy's lines of the merged view
            self.cursor = record["cursor"]
            return
        place = record["cursor"].split(":", 1)[1].split("p")[0].split("o")[0].split("s")[0].split(".")
        order = (int(place[0]), int(place[1]))
        if order < self._order:
            raise Wrong(f"{order} comes after {self._order}")
        self._order = order
        position = int(place[2]) if self._single else None
        kind = record["kind"]
        self.ledger.records += 1
        if kind == "start":
            self._next[model] = 0
            self.ledger.boundaries.append(self.at[model])
        elif kind == "gap":
            self._gap(model, record["missed"], position)
        elif kind == "line":
            self._line(model, record, position)
        if position is not None:
            self.at[model] = position
        self.cursor = record["cursor"]

    def _gap(self, model: str, missed: int | None, position: int | None) -> None:
        if missed is None:
            raise Wrong("a gap of unknown size, though nothing was torn")
        self.ledger.missed += missed
        self.ledger.gaps += 1
        self._next[model] = None
        self._loose[model] = True
        if position is None:
            self.at[model] += missed

    def _line(self, model: str, record: dict[str, Any], position: int | None) -> None:
        truth = self._truths[model]
        text = record["text"].encode()
        size = len(text) + (not record.get("partial") and not record.get("cut"))
        self.ledger.delivered += size
        # Where nothing is left out each record begins where the one before it ended.
        if self._every == 1 and position not in (None, self.at[model] + size):
            raise Wrong(f"{self.at[model]} + {size} is not {position}: {text[:60]!r}")
        if position is None:
            self.at[model] += size
        number = truth.number(text)
        if number is None or len(text) != truth.width - 1:
            # Half a line: before the end of a run that was cut off, or behind a gap.
            if not (record.get("partial") or self._loose[model] or self._every > 1):
                raise Wrong(f"no line of {model}: {text[:80]!r}")
            self._loose[model] = False
            return
        self._loose[model] = False
        if text != truth.text[number * truth.width : (number + 1) * truth.width - 1]:
            raise Wrong(f"line {number} of {model} is {text[:80]!r}")
        expected = self._next[model]
        if expected is not None and number != expected:
            raise Wrong(f"after a line of {model} came {number} and not {expected}")
        if number % self._every:
            raise Wrong(f"line {number} of {model} was not asked for")
        self._next[model] = number + self._every

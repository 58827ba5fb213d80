"""Which part of a monitor's stream belongs to which run, and the sealed bytes of runs that ended. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hostler.errors import NotFound

if TYPE_CHECKING:
    from hostler.logs.ring import RingBuffer


@dataclass(frozen=True, slots=True)
class RunLog:
    """Where the log of one run lies in the stream.

    `start` and `end` are positions (`end` is None while it runs); `held` is how many of its bytes, always
    the newest ones, can still be read.
    """

    number: int
    start: int
    end: int | None
    held: int


@dataclass(frozen=True, slots=True)
class _Sealed:
    log: RunLog
    data: bytes


class RunLogs:
    """The runs of one ring: at most one that runs, and the last `keep` that ended.

    A run that ends is copied out of the ring, so whatever later runs print cannot push it out; memory is
    bounded by `keep` times the ring's capacity.
    """

    __slots__ = ("_current", "_ring", "_sealed")

    def __init__(self, ring: RingBuffer, keep: int) -> None:
        self._ring = ring
        self._sealed: deque[_Sealed] = deque(maxlen=max(keep, 0))
        self._current: tuple[int, int] | None = None  # number, start position

    @property
    def current(self) -> int | None:
        """The number of the run that is going on."""
        return self._current[0] if self._current else None

    def begin(self, number: int) -> None:
        """What is written from now on belongs to run `number`; a run that still runs ends here."""
        self._seal()
        self._current = (number, self._ring.end)

    def end(self, number: int) -> None:
        """Seal the log of run `number`; nothing happens unless it is the one that runs (it may end twice)."""
        if self.current == number:
            self._seal()

    def _seal(self) -> None:
        if self._current is None:
            return
        number, start = self._current
        data = self._read(start)
        self._current = None
        self._sealed.append(_Sealed(RunLog(number, start, self._ring.end, len(data)), data))

    def _read(self, start: int) -> bytes:
        return self._ring.read(max(start, self._ring.start), self._ring.capacity)[0]

    def logs(self) -> list[RunLog]:
        """All runs that can be read, oldest first."""
        logs = [sealed.log for sealed in self._sealed]
        if self._current is not None:
            number, start = self._current
            logs.append(RunLog(number, start, None, self._ring.end - max(start, self._ring.start)))
        return logs

    def history(self, number: int) -> bytes:
        """The newest bytes of run `number`; NotFound when it never was or newer runs replaced it."""
        if self._current is not None and self._current[0] == number:
            return self._read(self._current[1])
        for sealed in reversed(self._sealed):
            if sealed.log.number == number:
                return sealed.data
        kept = ", ".join(str(log.number) for log in self.logs()) or "none"
        raise NotFound(f"No log of run {number} is kept; kept are: {kept}.", param="run")

    def forget(self) -> None:
        """Release the bytes of all runs that ended."""
        self._sealed.clear()

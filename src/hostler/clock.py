"""The only reader of time.

Decisions use monotonic seconds; wall time is for display. Everything that needs either takes a `Clock`,
so a test can hand in one that stands still.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow, and the time of day."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def wall(self) -> datetime:
        """The time of day, with a time zone (UTC)."""
        ...

    def timestamp(self) -> float:
        """The time of day in seconds since 1970: a quarter of the price of `wall`."""
        ...


class SystemClock:
    """The machine's own clocks."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)  # it is asked for at every turn: no call around the call

    def wall(self) -> datetime:
        return datetime.now(UTC)

    timestamp = staticmethod(time.time)


class ManualClock:
    """A clock that moves when told to; for tests and simulations."""

    __slots__ = ("_monotonic", "_start")

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or datetime(2026, 1, 1, tzinfo=UTC)
        self._monotonic = 0.0

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.timestamp(), UTC)

    def timestamp(self) -> float:
        return self._start.timestamp() + self._monotonic

    def advance(self, seconds: float) -> None:
        """Move on by `seconds` (must not be negative)."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._monotonic += seconds


SYSTEM = SystemClock()

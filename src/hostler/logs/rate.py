"""A bound on how much of a flood is kept: so many bytes in each second, the rest is counted. Pure."""

from __future__ import annotations

from hostler.clock import Clock

WINDOW = 1.0


class RateLimit:
    """Says of each write how many of its bytes are kept; `rate` is in bytes a second."""

    __slots__ = ("_clock", "_left", "_until", "rate")

    def __init__(self, rate: int, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._left = rate
        self._until = clock.monotonic() + WINDOW

    def __call__(self, size: int) -> int:
        now = self._clock.monotonic()
        if now >= self._until:
            self._until = now + WINDOW
            self._left = self.rate
        kept = min(size, self._left)
        self._left -= kept
        return kept

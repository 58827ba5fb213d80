"""A rest for a model that keeps failing, so that a hot client loop does not make it throw good ones out.

The first failure costs nothing: the next request tries again at once. After the second in a row the model
rests 5 s, and twice as long after each further one, 300 s at most. A failure is a load that failed, or a
crash less than 10 s after the model became ready. A run that was ready for 10 s or longer ends the row,
however it ended; a shorter one that was stopped on purpose proves nothing and changes nothing. Completed
requests do not count as proof: a model that answers one request and dies each time is a failing model.
"""

from __future__ import annotations

FIRST_REST = 5.0
"""Seconds after the second failure: long enough to break a tight retry loop, short for a person."""

LONGEST_REST = 300.0
"""Seconds: someone who has just repaired the model waits five minutes at worst, or asks by force."""

PROVEN = 10.0
"""Seconds of being ready after which an end is no longer a failed start; engines that run out of memory on
their first allocation have died by then."""


class Backoff:
    """The row of failures of one model."""

    __slots__ = ("_ready_at", "_until", "error", "failures")

    def __init__(self) -> None:
        self.failures = 0
        self.error: object = None
        self._until = 0.0
        self._ready_at: float | None = None

    def __repr__(self) -> str:
        return f"<Backoff {self.failures} failures>"

    def failed(self, now: float, error: object) -> None:
        """One more failure, for the reason `error`."""
        self.failures += 1
        self.error = error
        self._ready_at = None
        if self.failures > 1:
            # The exponent is bounded so that a row of thousands does not overflow a float.
            self._until = now + min(FIRST_REST * 2.0 ** min(self.failures - 2, 16), LONGEST_REST)

    def ready(self, now: float) -> None:
        """The model became ready: its rest is over, the row of failures is not."""
        self._ready_at = now
        self._until = 0.0

    def ended(self, now: float, *, crashed: bool, error: object) -> None:
        """A run of the model ended; it may never have been ready."""
        proven = self._ready_at is not None and now - self._ready_at >= PROVEN
        if proven:
            self.failures = 0
            self.error = None
            self._until = 0.0
        elif crashed:
            self.failed(now, error)
        self._ready_at = None

    def remaining(self, now: float) -> float:
        """Seconds the model still rests; 0 when it may be tried."""
        return max(0.0, self._until - now)

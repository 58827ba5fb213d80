"""The policy of readiness: when to ask again, how long one try may take, what an answer means.

The first try is at once. An engine on this machine that does not listen yet is tried all the time: to be
refused costs both sides next to nothing. After any other answer the pause grows by a tenth, so that it is
always about a tenth of the time waited so far: who says "loading" for a minute is asked four times a second,
and may log each time. Engines print when they become ready, so output brings the next try forward and makes
the pauses short again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST_PAUSE: Final = 0.002
GROWTH: Final = 1.1
LONGEST_PAUSE: Final = 0.25
PAUSE_AFTER_OUTPUT: Final = 0.008
"""Between tries of an engine that prints all the time: about 3 % of a core. A swap waits for half of it."""
REFUSED_PAUSE: Final = 0.004
"""While nobody listens: 250 looks a second, about 1 % of a core."""
TRY_TIMEOUT: Final = 2.0
"""A loading engine may accept and not answer; a fresh connection then is better than a long wait."""

SHORT_TRY: Final = 0.1
"""A try that was cut this short by the deadline and had no answer says nothing about the engine."""


class Pacing:
    """The pauses between tries."""

    __slots__ = ("_pause",)

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE

    def next(self, *, refused: bool = False) -> float:
        """The pause before the next try; `refused` says that the last one showed that nobody listens."""
        pause = self._pause
        self._pause = min(pause * GROWTH, LONGEST_PAUSE)
        return min(pause, REFUSED_PAUSE) if refused else pause

    def output_seen(self) -> None:
        """The engine has printed something: be quick again for a while."""
        self._pause = min(self._pause, PAUSE_AFTER_OUTPUT)


def delays() -> Iterator[float]:
    """The seconds to wait before each try of an engine that prints nothing; the first is 0."""
    pacing = Pacing()
    yield 0.0
    while True:
        yield pacing.next()


def try_timeout(remaining: float) -> float:
    """How long one try may take when `remaining` seconds are left until the deadline."""
    return max(0.0, min(TRY_TIMEOUT, remaining))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a try showed: `said` completes the sentence "the last probe said …"."""

    ready: bool
    said: str


def classify(result: int | Exception) -> Outcome:
    """Judge a status, or the exception that came instead. Only 200 is ready; nothing else is final."""
    if isinstance(result, int):
        return Outcome(ready=result == 200, said=f"status {result}")
    if isinstance(result, ConnectionRefusedError):
        return Outcome(ready=False, said="connection refused")
    if isinstance(result, TimeoutError):
        return Outcome(ready=False, said="no answer in time")
    if isinstance(result, ConnectionError):
        return Outcome(ready=False, said="connection closed without an answer")
    if isinstance(result, OSError):
        return Outcome(ready=False, said=(result.strerror or str(result)).lower())
    return Outcome(ready=False, said="something that is not an HTTP answer")

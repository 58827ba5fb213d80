"""The states of a run and the moves between them: one table, and the one thing that assigns a state.

stopped ──► starting ──► ready ──► stopping ──► stopped        every state ──► shutdown (the end)
                │          └──── exits by itself ──► stopped
                └── fails, or is stopped before it is ready ──► stopped   (no `stopping` is shown)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hostler.core import State

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED: Final[dict[State, frozenset[State]]] = {
    State.STOPPED: frozenset({State.STARTING, State.SHUTDOWN}),
    State.STARTING: frozenset({State.READY, State.STOPPED, State.SHUTDOWN}),
    State.READY: frozenset({State.STOPPING, State.STOPPED, State.SHUTDOWN}),
    State.STOPPING: frozenset({State.STOPPED, State.SHUTDOWN}),
    State.SHUTDOWN: frozenset(),
}
"""From each state, the states that may follow. Staying where one is, is not a move and not allowed."""


class TransitionError(RuntimeError):
    """A move that is not in the table: a mistake of ours, never of an engine."""

    def __init__(self, before: State, after: State) -> None:
        super().__init__(f"a run cannot go from {before.value} to {after.value}")
        self.before = before
        self.after = after


class Machine:
    """Holds a state and moves it along the table; calls `listener(before, after)` after each move."""

    __slots__ = ("_listener", "_state")

    def __init__(self, listener: Callable[[State, State], None] | None = None) -> None:
        self._state = State.STOPPED
        self._listener = listener

    @property
    def state(self) -> State:
        return self._state

    def may(self, after: State) -> bool:
        """Whether `to(after)` would be legal now."""
        return after in ALLOWED[self._state]

    def to(self, after: State) -> None:
        """Move, or raise `TransitionError` and stay."""
        before = self._state
        if after not in ALLOWED[before]:
            raise TransitionError(before, after)
        self._state = after
        if self._listener is not None:
            self._listener(before, after)

    def __repr__(self) -> str:
        return f"<Machine {self._state.value}>"

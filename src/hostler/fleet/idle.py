"""Unloading a model that nobody uses: its `ttl` counts from ready or from the end of the last request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hostler.clock import Clock
from hostler.core import ModelId, State
from hostler.fleet.slot import Slot


class IdleTimer:
    """One timer for each model, armed when its last request ends.

    It is not moved by every request: when it fires too early, it sleeps for what is left. So the cost for a
    request is a time stamp.
    """

    __slots__ = ("_clock", "_handle", "_reached", "_slot")

    def __init__(self, slot: Slot, reached: Callable[[ModelId], None], clock: Clock) -> None:
        self._slot = slot
        self._reached = reached
        self._clock = clock
        self._handle: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """Begin to count, unless the timer runs already or the model has no `ttl`."""
        ttl = self._slot.model.ttl
        if self._handle is None and ttl > 0 and self._slot.state is State.READY:
            self._sleep(ttl)

    def cancel(self) -> None:
        """Stop counting."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def ttl_changed(self) -> None:
        """Count anew from the last use: the model has another `ttl`."""
        self.cancel()
        slot = self._slot
        if slot.model.ttl > 0 and slot.state is State.READY and not slot.active:
            self._sleep(max(0.0, slot.last_used + slot.model.ttl - self._clock.monotonic()))

    def _sleep(self, seconds: float) -> None:
        self._handle = asyncio.get_running_loop().call_later(seconds, self._fired)

    def _fired(self) -> None:
        self._handle = None
        slot = self._slot
        if slot.active or slot.state is not State.READY:
            return  # armed again when the last request ends
        left = slot.last_used + slot.model.ttl - self._clock.monotonic()
        if left > 0:
            self._sleep(left)
        else:
            self._reached(slot.model.id)

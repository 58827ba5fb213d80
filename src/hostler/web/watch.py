"""Looks at running engines every few seconds: at what they print, for causes of trouble, and at their memory.

Nothing of this is done where bytes come in. A look costs the same whatever an engine prints: of what is new
it takes the last 64 KiB, and most of that is done with once none of a few words is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hostler import aio
from hostler.core import ModelId, State
from hostler.process.causes import seen_causes
from hostler.process.failure import as_details
from hostler.process.run import Run

if TYPE_CHECKING:
    from hostler.fleet.slot import Slot
    from hostler.web.state import WebState

# Seconds between two looks: soon enough for an alert, and a few milliseconds of work for each model.
LOOK_SECONDS = 5.0
# Bytes of new output that a look takes in, the newest of them: some 600 lines. Floods are passed over.
LOOKED_AT = 65_536

OnCause = Callable[[dict[str, Any], int], None]


class RunWatch:
    """Watches every run that is ready, until it ends. Only the event loop's thread may call it.

    `on_cause` gets what was found and in how many lines; at most one call for each cause of a model and look.
    """

    def __init__(self, state: WebState, on_cause: OnCause) -> None:
        self._state = state
        self._on_cause = on_cause
        self._positions: dict[ModelId, tuple[Run, int]] = {}
        self._watching: asyncio.Task[None] | None = None

    def state_changed(self, slot: Slot, state: State) -> None:
        """A model is in another state now."""
        run = slot.last_run
        if state is State.READY and run is not None:
            self._positions[slot.model.id] = run, run.log_from
            if self._watching is None:
                self._watching = aio.spawn(self._watch(), name="watch running engines")
        elif state is State.STOPPED:
            watched = self._positions.pop(slot.model.id, None)
            # Of one that failed, what it said last is its failure.
            if watched is not None and watched[0].cause is None:
                self.look(slot, *watched)

    async def close(self) -> None:
        """Watch no more."""
        if self._watching is not None:
            await aio.cancel_and_wait([self._watching])

    async def _watch(self) -> None:
        try:
            while self._positions:
                await self._state.feed.refresh()
                for model, (run, position) in tuple(self._positions.items()):
                    self._positions[model] = run, self.look(self._state.fleet.slot(model), run, position)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._watching = None

    def look(self, slot: Slot, run: Run, position: int) -> int:
        """Find causes in what was printed from `position` on; returns where to go on."""
        log = slot.log
        if log.end == position:
            return position
        data, _, _ = log.read(max(position, log.end - LOOKED_AT), LOOKED_AT)
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            # A line without an end is waited for, unless it is longer than a look.
            return position if len(data) < LOOKED_AT else log.end
        for cause, lines in seen_causes(whole.decode("utf-8", "replace"), run.spec.causes):
            found = {
                "model": slot.model.id,
                "run": run.number,
                "cause": as_details(cause),
                "line": lines[-1],
                "lines": len(lines),
                "cursor": run.cursor,
            }
            self._on_cause(found, len(lines))
        return log.end - len(rest)

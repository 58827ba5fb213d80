"""Loading models when Hostler starts, one after the other, and what became of each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hostler import aio
from hostler.core import ModelId, StartReason
from hostler.errors import HostlerError
from hostler.fleet.fleet import Fleet
from hostler.logs.monitor import LogMonitor


@dataclass(slots=True)
class Outcome:
    """How far one model is: waiting, loading, ready or failed."""

    model: ModelId
    state: str = "waiting"
    error: str = ""


class Preload:
    """Loads `models` in their order; a model that fails does not keep the next one from its try.

    By the rules of scheduling a later model may make an earlier one go; it was loaded all the same.
    """

    def __init__(self, fleet: Fleet, models: Sequence[ModelId], log: LogMonitor) -> None:
        self.outcomes = [Outcome(model) for model in models]
        self._fleet = fleet
        self._log = log
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if there is anything to load."""
        if self.outcomes:
            self._task = aio.spawn(self._run(), name="preload")

    async def close(self) -> None:
        """Load nothing more."""
        if self._task is not None:
            await aio.cancel_and_wait([self._task])

    @property
    def ready(self) -> bool:
        """Whether every model was loaded."""
        return all(outcome.state == "ready" for outcome in self.outcomes)

    def shown(self) -> list[dict[str, Any]]:
        """For JSON; `error` only where there is one."""
        return [
            {"model": outcome.model, "state": outcome.state}
            | ({"error": outcome.error} if outcome.error else {})
            for outcome in self.outcomes
        ]

    async def _run(self) -> None:
        for outcome in self.outcomes:
            outcome.state = "loading"
            try:
                await self._fleet.load(outcome.model, StartReason.PRELOAD)
            except HostlerError as error:
                outcome.state, outcome.error = "failed", error.message
                self._log.error(f"failed to preload {outcome.model}: {error.message}")
            else:
                outcome.state = "ready"
                self._log.info(f"preloaded {outcome.model}")

"""The lease: one request's right to use a ready run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hostler.core import Exit, ModelId, StartReason

if TYPE_CHECKING:
    from hostler.fleet.fleet import Fleet
    from hostler.fleet.slot import Slot
    from hostler.process.run import Run

# Seconds an engine gets to be seen as dead after it broke a connection off; the news takes milliseconds.
FATE_PATIENCE = 0.25


@dataclass(frozen=True, slots=True)
class Lease:
    """What a request holds while it may use a model.

    `base_url` is where the engine listens. `waited` is how many seconds the request stood in line; `loading`
    how many of them the engine took to become ready. `cold` says that the model was not ready when it came.
    `priority` is that of the model among those that wait.
    """

    model: ModelId
    run: int
    base_url: str
    waited: float
    cold: bool
    loading: float = 0.0
    priority: int = 0


class Held(NamedTuple):
    """A lease that was given at once, and what the fleet needs to take it back."""

    slot: Slot
    ticket: int
    lease: Lease


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that stands in line; `granted` is resolved once."""

    slot: Slot
    granted: asyncio.Future[None]


def lease_of(
    run: Run,
    model: ModelId,
    priorities: Mapping[ModelId, int],
    waited: float = 0.0,
    cold: bool = False,
    loading: float = 0.0,
) -> Lease:
    """A lease of `run`, which is one of `model`."""
    return Lease(model, run.number, run.spec.proxy, waited, cold, loading, priorities.get(model, 0))


class Leasing:
    """A lease on its way and while it is held: `async with fleet.lease(model) as lease`."""

    __slots__ = (
        "_fleet",
        "_force",
        "_on_wait",
        "_reason",
        "arrived",
        "cold",
        "granted",
        "model",
        "slot",
        "ticket",
    )

    def __init__(
        self,
        fleet: Fleet,
        model: ModelId,
        reason: StartReason,
        force: bool,
        on_wait: Callable[[int], None] | None,
    ) -> None:
        self._fleet = fleet
        self._reason = reason
        self._force = force
        self._on_wait = on_wait
        self.model = model
        self.ticket = 0
        self.arrived = 0.0
        self.cold = False
        self.slot: Slot | None = None
        self.granted: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Lease:
        fleet = self._fleet
        fleet.enter(self, self._reason, self._force)
        granted, slot = self.granted, self.slot
        assert granted is not None
        assert slot is not None
        try:
            if not granted.done():
                if self._on_wait is not None:
                    self._on_wait(self.ticket)
                await granted
            granted.result()
            return fleet.lease_of(slot, self.arrived, self.cold)
        except BaseException:
            fleet.leave(slot, self.ticket, granted)
            raise

    async def __aexit__(self, *_: object) -> None:
        assert self.slot is not None
        assert self.granted is not None
        self._fleet.leave(self.slot, self.ticket, self.granted)


async def fate(slot: Slot, lease: Lease) -> Exit | None:
    """How the run of `lease` ended; None while it lives, after a moment's patience."""
    run = slot.run
    if run is None or run.number != lease.run:
        return slot.last_exit if slot.runs == lease.run else Exit()
    try:
        async with asyncio.timeout(FATE_PATIENCE):
            return await run.wait()
    except TimeoutError:
        return None

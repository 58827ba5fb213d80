"""A fleet in simulated time: loads, unloads and requests take the seconds they are given."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import assert_never

from hostler.core import ModelId
from hostler.scheduler.core import Limits, Scheduler
from hostler.scheduler.events import (
    Arrived,
    Event,
    Grant,
    Left,
    Load,
    Loaded,
    Refuse,
    Tick,
    Unload,
    Unloaded,
)
from hostler.scheduler.policy import Policy


@dataclass
class Simulation:
    """Runs until everything has ended; `waits` is how long each ticket waited for its grant.

    `service` is how long every request runs, `loads` how many loads there were.
    """

    policy: Policy
    limits: Mapping[ModelId, Limits]
    max_wait: float
    load: float
    unload: float
    service: float
    waits: dict[int, float] = field(default_factory=dict)
    loads: int = 0

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.policy, limits=self.limits, max_wait=self.max_wait)
        self._agenda: list[tuple[float, int, Event]] = []
        self._number = count()
        self._arrived: dict[int, float] = {}

    def run(self, arrivals: Iterable[tuple[float, ModelId, int]]) -> None:
        """`arrivals` are times, models and priorities; tickets are numbered from 1 in their order."""
        for ticket, (when, model, priority) in enumerate(arrivals, 1):
            self._arrived[ticket] = when
            self._plan(Arrived(ticket, model, when, priority))
        while self._agenda:
            now, _, event = heapq.heappop(self._agenda)
            self._happen(event, now)

    def _plan(self, event: Event) -> None:
        heapq.heappush(self._agenda, (event.now, next(self._number), event))

    def _happen(self, event: Event, now: float) -> None:
        for command in self.scheduler.handle(event):
            match command:
                case Load(model):
                    self.loads += 1
                    self._plan(Loaded(model, now + self.load))
                case Unload(model, _):
                    self._plan(Unloaded(model, now + self.unload, crashed=False))
                case Grant(ticket):
                    self.waits[ticket] = now - self._arrived[ticket]
                    self._plan(Left(ticket, now + self.service))
                case Refuse():
                    raise AssertionError(f"{command} is not expected here")
                case _:
                    assert_never(command)
        wake = self.scheduler.next_wakeup(now)
        if wake is not None:
            self._plan(Tick(wake))

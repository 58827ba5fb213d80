"""What the scheduler keeps for one model: its phase, its line of waiting tickets, its grants."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from hostler.core import ModelId
from hostler.scheduler.backoff import Backoff


class Phase(StrEnum):
    """Where a model is, as far as the scheduler knows."""

    DOWN = "down"
    LOADING = "loading"
    UP = "up"
    UNLOADING = "unloading"


MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.DOWN: frozenset({Phase.LOADING}),  # Load
    Phase.LOADING: frozenset({Phase.UP, Phase.UNLOADING, Phase.DOWN}),  # Loaded, Unload, LoadFailed
    Phase.UP: frozenset({Phase.UNLOADING, Phase.DOWN}),  # Unload, Unloaded by itself
    Phase.UNLOADING: frozenset({Phase.DOWN}),  # Unloaded
}
"""Every move there is; only `Slot.move` changes a phase."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many requests a model serves at once (0: no limit) and how many more may wait for it.

    1000 waiting requests are far more than clients' patience lasts for, and small change in memory.
    """

    concurrency: int = 0
    queue: int = 1000


Key: TypeAlias = tuple[int, int, int]
"""A ticket's place in the order of service, smallest first: aged ones by arrival, then by priority."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One waiting ticket. `seq` counts arrivals; `key` changes once, when the ticket ages."""

    ticket: int
    slot: Slot
    arrived: float
    seq: int
    priority: int
    force: bool
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        self.key = (1, -self.priority, self.seq)

    @property
    def aged(self) -> bool:
        return self.key[0] == 0


def _key(waiter: Waiter) -> Key:
    return waiter.key


class Line:
    """The waiting tickets of one model in the order of service."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(tuple(self._waiters))

    @property
    def head(self) -> Waiter:
        return self._waiters[0]

    def add(self, waiter: Waiter) -> None:
        insort(self._waiters, waiter, key=_key)

    def remove(self, waiter: Waiter) -> None:
        del self._waiters[self.ahead_of(waiter.key)]

    def ahead_of(self, key: Key) -> int:
        """How many tickets here are served before one with `key`."""
        return bisect_left(self._waiters, key, key=_key)

    def age(self, waiter: Waiter) -> None:
        """Move `waiter` in front of everything that arrived later, whatever its priority."""
        self.remove(waiter)
        waiter.key = (0, 0, waiter.seq)
        self.add(waiter)


@dataclass(slots=True, eq=False)
class Slot:
    """One model; the board writes it.

    `bar` is the key of an aged ticket for another model that this one has to go for: tickets behind it get
    no grant here. Tickets up to `batch` waited when the model came up; the bar does not hold them until
    `batch_until`. `retired`: no longer configured, and to go as soon as nobody it knows of needs it.
    `stale`: the process there is was started by an older definition; it ends what it has and takes nothing
    more, and who waits, waits for the next one.
    """

    model: ModelId
    limits: Limits
    phase: Phase = Phase.DOWN
    line: Line = field(default_factory=Line)
    granted: set[int] = field(default_factory=set)
    backoff: Backoff = field(default_factory=Backoff)
    bar: Key | None = None
    batch: int = 0
    batch_until: float = 0.0
    retired: bool = False
    stale: bool = False

    def __repr__(self) -> str:
        return f"<Slot {self.model} {self.phase} | {len(self.granted)} granted, {len(self.line)} waiting>"

    @property
    def running(self) -> bool:
        return self.phase is Phase.UP or self.phase is Phase.LOADING

    @property
    def has_place(self) -> bool:
        if self.stale:
            return False
        return self.limits.concurrency == 0 or len(self.granted) < self.limits.concurrency

    def move(self, phase: Phase) -> None:
        if phase not in MOVES[self.phase]:
            raise ValueError(f"{self.model}: no move from {self.phase} to {phase}")
        self.phase = phase

    def admits(self, waiter: Waiter, now: float) -> bool:
        """Whether the bar lets `waiter` through."""
        return (
            self.bar is None or waiter.key < self.bar or (waiter.seq <= self.batch and now < self.batch_until)
        )

    def busy(self, now: float) -> bool:
        """Whether an eviction would cut somebody off: a running request, or one about to run here."""
        if self.granted:
            return True
        if not self.line:
            return False
        return self.phase is Phase.LOADING or self.admits(self.line.head, now)

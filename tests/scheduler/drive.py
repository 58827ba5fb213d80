"""A scheduler with a clock and words: tests send events in one line and read commands as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import assert_never

from hostler.core import ModelId, StopReason
from hostler.scheduler.core import Limits, Scheduler
from hostler.scheduler.events import (
    Arrived,
    Closing,
    Command,
    Event,
    Grant,
    Left,
    Load,
    Loaded,
    LoadFailed,
    Refuse,
    Tick,
    Unload,
    Unloaded,
    UnloadRequested,
)
from hostler.scheduler.groups import GroupPolicy
from hostler.scheduler.policy import Policy


@dataclass(frozen=True, slots=True)
class Group:
    """What `GroupPolicy` wants to know of a group."""

    id: str
    members: tuple[ModelId, ...]
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


def ids(names: Iterable[str]) -> tuple[ModelId, ...]:
    return tuple(ModelId(name) for name in names)


def group(
    name: str, members: str, *, swap: bool = True, exclusive: bool = True, persistent: bool = False
) -> Group:
    """A group whose members are the letters of `members`."""
    return Group(name, ids(members), swap, exclusive, persistent)


ONE_AT_A_TIME = GroupPolicy([])
ALL_TOGETHER = GroupPolicy([group("all", "abcdef", swap=False)])


def text(command: Command) -> str:
    match command:
        case Load(model):
            return f"load {model}"
        case Unload(model, reason):
            return f"unload {model}: {reason}"
        case Grant(ticket):
            return f"grant {ticket}"
        case Refuse(ticket, refusal):
            return f"refuse {ticket}: {refusal.kind}"
        case _:
            assert_never(command)


class Drive:
    """Tickets are numbered from 1 in the order of arrival."""

    def __init__(
        self,
        policy: Policy = ONE_AT_A_TIME,
        *,
        models: str = "abcdef",
        limits: Mapping[str, Limits] | None = None,
        max_wait: float = 60.0,
    ) -> None:
        own = limits or {}
        self.now = 0.0
        self.tickets = 0
        self.scheduler = Scheduler(
            policy, limits={ModelId(m): own.get(m, Limits()) for m in models}, max_wait=max_wait
        )
        self.last: list[Command] = []

    def send(self, event: Event) -> list[str]:
        self.last = self.scheduler.handle(event)
        return [text(command) for command in self.last]

    def arrive(self, model: str, priority: int = 0, *, force: bool = False) -> list[str]:
        self.tickets += 1
        return self.send(Arrived(self.tickets, ModelId(model), self.now, priority, force))

    def leave(self, ticket: int) -> list[str]:
        return self.send(Left(ticket, self.now))

    def loaded(self, model: str) -> list[str]:
        return self.send(Loaded(ModelId(model), self.now))

    def failed(self, model: str, error: object = "no memory") -> list[str]:
        return self.send(LoadFailed(ModelId(model), self.now, error))

    def gone(self, model: str) -> list[str]:
        return self.send(Unloaded(ModelId(model), self.now, crashed=False))

    def crashed(self, model: str, error: object = "killed") -> list[str]:
        return self.send(Unloaded(ModelId(model), self.now, crashed=True, error=error))

    def ask_unload(self, model: str, reason: StopReason = StopReason.API) -> list[str]:
        return self.send(UnloadRequested(ModelId(model), self.now, reason))

    def tick(self) -> list[str]:
        return self.send(Tick(self.now))

    def close(self) -> list[str]:
        return self.send(Closing(self.now))

    def after(self, seconds: float) -> list[str]:
        """Let time pass, then tick."""
        self.now += seconds
        return self.tick()

    def bring_up(self, *models: str) -> None:
        """Load models that fit, each by a request that is over at once."""
        for model in models:
            assert self.arrive(model) == [f"load {model}"]
            assert self.loaded(model) == [f"grant {self.tickets}"]
            assert self.leave(self.tickets) == []

    def phase(self, model: str) -> str:
        return self.scheduler.phase(ModelId(model))

    def waiting(self, model: str) -> int:
        return self.scheduler.waiting(ModelId(model))

    def granted(self, model: str) -> int:
        return self.scheduler.granted(ModelId(model))

    def draining(self, model: str) -> bool:
        return self.scheduler.draining(ModelId(model))

"""What the routes need to see of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hostler.clock import SYSTEM, Clock
from hostler.config.diff import Plan
from hostler.config.problems import Problem
from hostler.config.schema import Config
from hostler.config.secrets import mask as mask  # the pages and the API hide secrets by way of here
from hostler.fleet.fleet import Fleet
from hostler.fleet.preload import Preload
from hostler.gateway.pipeline import Gateway
from hostler.logs.hub import LogHub
from hostler.logs.store import LogStore
from hostler.metrics.observatory import Observatory
from hostler.web.feed import Feed

if TYPE_CHECKING:
    from starlette.requests import Request


class Change(Protocol):
    """What a new configuration changes, and what is to be said about it."""

    @property
    def plan(self) -> Plan: ...
    @property
    def warnings(self) -> Sequence[Problem]: ...


class Reloads(Protocol):
    """Reads the configuration again; both raise ConfigProblems."""

    async def plan(self) -> Change:
        """What a reload would do now."""
        ...

    async def reload(self) -> Change:
        """Do it; what changed."""
        ...


@dataclass(slots=True)
class WebState:
    """One Hostler's parts, for its routes."""

    config: Config
    fleet: Fleet
    hub: LogHub
    gateway: Gateway
    preload: Preload
    logs: LogStore
    observatory: Observatory
    clock: Clock = field(default=SYSTEM)
    reloader: Reloads | None = None  # without one, nobody knows where the configuration came from
    feed: Feed = field(init=False)  # tells listeners what happens to the others

    def __post_init__(self) -> None:
        self.feed = Feed(self)


def state_of(request: Request) -> WebState:
    """The state the application was made with."""
    state: WebState = request.app.state.hostler
    return state

"""What the routes need to see of the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from hostler.clock import SYSTEM, Clock
from hostler.config.schema import Config
from hostler.fleet.fleet import Fleet
from hostler.logs.hub import LogHub


@dataclass(slots=True)
class WebState:
    """One Hostler's parts, for its routes."""

    config: Config
    fleet: Fleet
    hub: LogHub
    clock: Clock = field(default=SYSTEM)


def state_of(request: Request) -> WebState:
    """The state the application was made with."""
    state: WebState = request.app.state.hostler
    return state


def mask(text: str, secrets: frozenset[str]) -> str:
    """`text` without the secret values of the configuration."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "***")
    return text

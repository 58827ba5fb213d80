"""The active profile: its pins stand in front of every other name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hostler.config.schema import Profile
from hostler.errors import NotFound

NO_PINS: Mapping[str, str | None] = {}

Listener = Callable[[str | None], None]


class Profiles:
    """Which profile is active; only the operators' API changes it. None is, to begin with.

    `pins` are its: requested name → another name, None where the name is switched off.
    """

    def __init__(self, profiles: Mapping[str, Profile]) -> None:
        self.listeners: list[Listener] = []
        self.active: str | None = None
        self.pins: Mapping[str, str | None] = NO_PINS
        self._profiles = profiles

    def activate(self, profile: str | None) -> None:
        """Make `profile` the active one, or none. Raises NotFound."""
        if profile is not None and profile not in self._profiles:
            raise NotFound(f'profile "{profile}" not found')
        self._set(profile)

    def replace(self, profiles: Mapping[str, Profile]) -> None:
        """Go on with other profiles; the active one stays active as long as there is one of its name."""
        self._profiles = profiles
        self._set(self.active if self.active in profiles else None)

    def _set(self, profile: str | None) -> None:
        self.pins = self._profiles[profile].pins if profile is not None else NO_PINS
        if profile != self.active:
            self.active = profile
            for listener in self.listeners:
                listener(profile)

    def shown(self) -> dict[str, Any]:
        """All profiles by id, in llama-swap's shape: a pin that is switched off is an empty text."""
        return {
            "active": self.active,
            "profiles": [
                {
                    "id": profile.id,
                    "description": profile.description,
                    "pins": {name: target or "" for name, target in profile.pins.items()},
                }
                for _, profile in sorted(self._profiles.items())
            ],
        }

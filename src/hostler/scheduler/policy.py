"""Who may run with whom, as the scheduler sees it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from hostler.core import ModelId


class Policy(Protocol):
    """Answers one question; it keeps no state that changes an answer.

    Two properties are relied on. Obeying is enough: once the named models are gone, nothing more has to go
    (`evict(t, running - evict(t, running))` is empty). Less is easier: when nothing has to go from a
    collection, nothing has to go from a part of it.
    """

    def evict(self, target: ModelId, running: Collection[ModelId]) -> frozenset[ModelId]:
        """Which of `running` have to go before `target` may run; nothing when `target` is among them."""
        ...

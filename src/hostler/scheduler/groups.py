"""Groups: the simple way to say who may run with whom.

A target evicts the other members of its own group if that group swaps, and the models of other groups if
its own group is exclusive, except those of persistent groups. So a model of a group that is not exclusive
starts beside whatever runs, exclusive groups included.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from hostler.core import ModelId

DEFAULT = "(default)"
"""The group of every model that no other group names."""


class GroupLike(Protocol):
    """What a group has to tell; the configuration's own group type does."""

    @property
    def id(self) -> str: ...
    @property
    def members(self) -> Collection[ModelId]: ...
    @property
    def swap(self) -> bool: ...
    @property
    def exclusive(self) -> bool: ...
    @property
    def persistent(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _DefaultGroup:
    id: str = DEFAULT
    members: tuple[ModelId, ...] = ()
    swap: bool = True
    exclusive: bool = True
    persistent: bool = False


class GroupPolicy:
    """A `Policy` made of groups; a model in none of them counts as a member of the default group."""

    __slots__ = ("_default", "_group_of")

    def __init__(self, groups: Iterable[GroupLike]) -> None:
        self._default: GroupLike = _DefaultGroup()
        self._group_of: dict[ModelId, GroupLike] = {}
        for group in groups:
            if group.id == DEFAULT:
                self._default = group
            for member in group.members:
                self._group_of[member] = group

    def __repr__(self) -> str:
        groups = {group.id for group in self._group_of.values()} | {self._default.id}
        return f"<GroupPolicy {len(groups)} groups, {len(self._group_of)} models>"

    def evict(self, target: ModelId, running: Collection[ModelId]) -> frozenset[ModelId]:
        if target in running:
            return frozenset()
        home = self._group_of.get(target, self._default)
        return frozenset(model for model in running if self._must_go(home, model))

    def _must_go(self, home: GroupLike, model: ModelId) -> bool:
        group = self._group_of.get(model, self._default)
        if group.id == home.id:
            return home.swap
        return home.exclusive and not group.persistent

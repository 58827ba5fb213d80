"""Selectors: one name for several targets. Pure: what the targets are doing comes as an argument.

The result is an order, not a choice: when a target fails to start, the next one is asked. (llama-swap gives
up; who names several targets expects one of them to answer.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hostler.config.schema import Selector
from hostler.core import State

ACTIVE = frozenset((State.STARTING, State.READY))


@dataclass(frozen=True, slots=True)
class Load:
    """What a target is doing: its state (None for a peer's) and its requests, those that wait included."""

    state: State | None
    requests: int


def order(selector: Selector, load_of: Callable[[str], Load], turn: int = 0) -> list[str]:
    """The targets of `selector`, the best one first.

    `pin` takes them as they are written; `warm` prefers one that is ready, then one that is starting;
    `spillover` the least busy one that is active while it has fewer requests than the threshold, then one
    that is not active. `turn` says whose turn it is among equally busy ones.
    """
    targets = list(selector.targets)
    if selector.strategy == "pin":
        return targets
    loads = {target: load_of(target) for target in targets}
    if selector.strategy == "warm":
        return sorted(targets, key=lambda target: _warmth(loads[target].state))
    return _spill(targets, loads, selector.spillover, turn)


def _warmth(state: State | None) -> int:
    return {State.READY: 0, State.STARTING: 1}.get(state or State.STOPPED, 2)


def _spill(targets: Sequence[str], loads: dict[str, Load], threshold: int, turn: int) -> list[str]:
    active = [t for t in targets if loads[t].state in ACTIVE or loads[t].requests > 0]
    stopping = [t for t in targets if t not in active and loads[t].state is State.STOPPING]
    cold = [t for t in targets if t not in active and t not in stopping]
    rank = {target: (place - turn) % len(active) for place, target in enumerate(active)}
    active.sort(key=lambda t: (loads[t].requests, rank[t]))
    if active and (loads[active[0]].requests < threshold or not cold):
        return [*active, *cold, *stopping]
    return [*cold, *active, *stopping]

"""One pass over everybody who waits: who is loaded now, who has to go for it, who has to stop serving.

A pass starts from nothing but the phases and the lines, so a target that nobody waits for any more is
simply not seen. `world` is what will run once everything decided so far in this pass has been carried out.

 P1  Lift all bars.
 P2  Go through the models that are waited for and neither loading nor up, in the order of the first ticket of
     each: first those whose first ticket has aged, then (after P3) the others. For each target:
     P2.1  The policy says what of the world has to go. If that is a target placed before, or if this target
           would make one placed before evict more than it has to: wait.
     P2.2  An aged target bars what has to go: it serves nobody behind the aged ticket.
     P2.3  Something that has to go is busy, or what an earlier target waits for is in the way: an aged target
           keeps its place and waits; another one waits and leaves the room to whoever can use it now.
     P2.4  Otherwise everything that has to go is unloaded and the target's place is kept.
     P2.5  The target is loaded once nothing that is not down has to go for it.
 P3  Serve the lines of the models that are up, as far as limits and bars allow.

Why nobody starves: aged tickets are ordered by arrival and nobody can get in front of them. The first one's
model is up (then it only waits for a free place behind older tickets), or on its way, or P2 keeps its place:
what is in its way takes no younger ticket and ends its running requests, and nothing that conflicts is
loaded. Why nothing flaps: only P2.4 unloads, and what it unloads for is reserved from then on against
everything behind it.
"""

from __future__ import annotations

from hostler.core import ModelId, StopReason
from hostler.scheduler.board import Board
from hostler.scheduler.policy import Policy
from hostler.scheduler.slots import Key, Phase, Slot


class Plan:
    """One pass at the time `now`; `run` it once."""

    __slots__ = ("_board", "_now", "_placed", "_policy", "_world")

    def __init__(self, board: Board, policy: Policy, now: float) -> None:
        self._board = board
        self._policy = policy
        self._now = now
        self._world = {model for model, slot in board.active.items() if slot.running}
        self._placed: set[ModelId] = set()

    def run(self) -> None:
        self._board.lift_bars()  # P1
        lines = sorted(self._board.waited_for.values(), key=_first_key)
        targets = [slot for slot in lines if not slot.running]
        for slot in targets:  # P2, aged
            if slot.line.head.aged:
                self._place(slot, aged=True)
        for slot in lines:  # P3
            if slot.phase is Phase.UP:
                self._board.serve(slot, self._now)
        for slot in targets:  # P2, others
            if not slot.line.head.aged:
                self._place(slot, aged=False)

    def _place(self, slot: Slot, *, aged: bool) -> None:
        target = slot.model
        need = self._policy.evict(target, self._world)
        if need & self._placed or self._disturbs(target, need):  # P2.1
            return
        victims = [self._board.slots[model] for model in sorted(need)]
        if aged:  # P2.2
            for victim in victims:
                self._board.bar(victim, slot.line.head.key)
        held = self._policy.evict(target, self._running() - need)
        if held or any(victim.busy(self._now) for victim in victims):  # P2.3
            if aged:
                self._keep(target, need)
            return
        self._keep(target, need)  # P2.4
        for victim in victims:
            self._board.unload(victim, StopReason.EVICTED)
        if slot.phase is Phase.DOWN and not self._policy.evict(target, self._board.active.keys()):  # P2.5
            self._board.load(slot)
            self._placed.discard(target)

    def _keep(self, target: ModelId, need: frozenset[ModelId]) -> None:
        self._world -= need
        self._world.add(target)
        self._placed.add(target)

    def _disturbs(self, target: ModelId, need: frozenset[ModelId]) -> bool:
        # The relation is not symmetric: a target may come to stand beside a model that would evict it.
        if not self._placed:
            return False
        world = (self._world - need) | {target}
        return any(self._policy.evict(placed, world - {placed}) for placed in self._placed)

    def _running(self) -> set[ModelId]:
        return {model for model, slot in self._board.active.items() if slot.running}


def _first_key(slot: Slot) -> Key:
    return slot.line.head.key

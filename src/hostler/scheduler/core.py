"""The scheduler: an event in, a list of commands out.

The decision tree, with the same numbers in the code and in `plan` (P):

 0  Tickets that have now waited for `max_wait` age: each goes in front of all that arrived later. If any
    did, P follows (before a new arrival, after any other event).

A request arrives
 1  Shutting down: refused.
 2  Its model is not configured: refused.
 3  The model is up, not barred, nobody waits for it and it has a free place: granted. Nothing is searched.
 4  The model is down or going, rests after failures, and nobody forces it: refused, with the last error.
 5  Its line is full: refused.
 6  It joins the line. P, if it is now the first one of a model that is neither loading nor up.

A ticket leaves
 7  While it waits: forgotten. P, if it was the first of its line (what it held up may go on).
 8  After its grant: the next of the line is served. P, if the model is idle now and somebody waits.
 9  Any other: nothing.

A life of a process goes on
10  Loaded: all who wait are served, as far as the limit allows, bar or not; then P. Ignored for a model that
    was told to go meanwhile.
11  LoadFailed: a failure for the back-off, and all who wait are refused; then P. For a model that was told
    to go it is what Unloaded is.
12  Unloaded: its grants are void. A crash of a model that was up may start a rest: then all who wait are
    refused unless forced. P, which loads it again for whoever still waits.

An unload is asked for
13  For being idle while somebody uses the model or waits for it: ignored.
14  Otherwise all who wait are refused, and the process, loading or up, is told to go. P.

15  Shutdown: all who wait are refused; all that runs is told to go.

The configuration changes (`replace`)
16  A model that is no longer configured refuses who would have to wait for a load, serves all others it has
    let in, and goes once they are done.
17  A process that would be started differently now is stale: it ends what it has begun, gets nothing more,
    and goes; one that is loading goes at once. Who waits, waits for the next one.
18  What had failed by its old definition may be tried at once.

`max_wait` is how long requests for a model that is up may overtake one that needs it gone, and how long
priorities may hold back a ticket. Running requests are never cut by a swap, so the whole wait of a ticket is
bounded by `max_wait`, plus for each aged ticket in front that needs another swap, and for its own: the
requests running then, one unload and one load; plus, where a concurrency limit makes a line wait for a model
that is up, at most `max_wait` for each load, in which those who waited for that load are served.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import assert_never

from hostler.core import ModelId, StopReason
from hostler.scheduler.backoff import Backoff
from hostler.scheduler.board import Board
from hostler.scheduler.events import (
    Arrived,
    Closing,
    Command,
    Event,
    Left,
    Loaded,
    LoadFailed,
    Refusal,
    RefusalKind,
    Tick,
    Unloaded,
    UnloadRequested,
)
from hostler.scheduler.plan import Plan
from hostler.scheduler.policy import Policy
from hostler.scheduler.slots import Limits, Phase, Slot

__all__ = ["Limits", "Phase", "Scheduler"]


class Scheduler:
    """Decides who may run, who waits and who must go.

    One owner feeds it events in the order they happen and carries out every command. Each handler says
    whether a plan has to follow.
    """

    def __init__(self, policy: Policy, *, limits: Mapping[ModelId, Limits], max_wait: float = 60.0) -> None:
        self._policy = policy
        self._board = Board(limits, max_wait)
        self._closing = False

    def __repr__(self) -> str:
        phases = [slot.phase for slot in self._board.active.values()]
        counts = [f"{phases.count(Phase.UP)} up", f"{phases.count(Phase.LOADING)} loading"]
        if Phase.UNLOADING in phases:
            counts.append(f"{phases.count(Phase.UNLOADING)} unloading")
        tickets = f"{len(self._board.granted)} granted, {len(self._board.waiting)} waiting"
        return f"<Scheduler {', '.join(counts)} | {tickets}{' | closing' if self._closing else ''}>"

    # -- snapshots --------------------------------------------------------------------------------------

    def phase(self, model: ModelId) -> Phase:
        """Where `model` is; a model nobody knows is down."""
        slot = self._board.slots.get(model)
        return slot.phase if slot is not None else Phase.DOWN

    def granted(self, model: ModelId) -> int:
        """How many tickets hold a grant for `model`."""
        slot = self._board.slots.get(model)
        return len(slot.granted) if slot is not None else 0

    def waiting(self, model: ModelId) -> int:
        """How many tickets wait for `model`."""
        slot = self._board.slots.get(model)
        return len(slot.line) if slot is not None else 0

    def draining(self, model: ModelId) -> bool:
        """Whether `model` takes no new requests because an aged ticket needs it gone."""
        slot = self._board.slots.get(model)
        return slot is not None and slot.bar is not None

    def position(self, ticket: int) -> int | None:
        """The place of `ticket` among all that wait for any model, from 1; None when it does not wait."""
        return self._board.position(ticket)

    def next_wakeup(self, now: float) -> float | None:
        """When a `Tick` is due, never before `now`; None when time alone changes nothing."""
        due = self._board.next_ageing()
        return None if due is None else max(due, now)

    # -- events -----------------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Command]:
        """Take note of `event`; what has to be done now, in this order."""
        aged = self._board.age(event.now)  # 0
        if aged and isinstance(event, Arrived):
            # A bar may be due that the fast path has to see.
            self._plan(event.now)
            aged = False
        if self._enter(event) or aged:
            self._plan(event.now)
        return self._board.take()

    def grant_now(self, ticket: int, model: ModelId) -> bool:
        """3 alone, of a time at which nobody waits for anything: whether `ticket` has its grant.

        What `Arrived` would do then, without the search. Nothing is done otherwise; the ticket may still
        arrive.
        """
        board = self._board
        slot = board.slots.get(model)
        if board.waiting or self._closing or slot is None or slot.retired:
            return False
        if slot.phase is not Phase.UP or slot.bar is not None or not slot.has_place:
            return False
        board.hold(slot, ticket)
        return True

    def leave(self, ticket: int, now: float) -> list[Command]:
        """What `Left` is; without a search where nobody waits and nothing has to go."""
        board = self._board
        slot = board.granted.get(ticket)
        if slot is None or board.waiting or slot.retired or slot.stale or slot.phase is not Phase.UP:
            return self.handle(Left(ticket, now))
        board.release(slot, ticket)
        if not slot.granted:
            board.lift_bars()
        return []

    def replace(
        self,
        *,
        now: float,
        policy: Policy | None = None,
        limits: Mapping[ModelId, Limits] | None = None,
        max_wait: float | None = None,
        stale: Collection[ModelId] = (),
        changed: Collection[ModelId] = (),
    ) -> list[Command]:
        """Go on under another policy or other limits; what has to be done now.

        Nothing that runs is cut off. `stale` are all models whose process was started by a definition that
        is no longer theirs, `changed` those whose definition has just changed.
        """
        if policy is not None:
            self._policy = policy
        if max_wait is not None:
            self._board.max_wait = max_wait
        if limits is not None:
            for model, limit in limits.items():
                slot = self._board.slots.setdefault(model, Slot(model, limit))
                slot.limits = limit
                slot.retired = False
            for model in sorted(self._board.slots.keys() - limits.keys()):
                self._retire(self._board.slots[model])  # 16
        for model in changed:  # 18
            self._board.slots[model].backoff = Backoff()
        for model, slot in list(self._board.active.items()):
            self._outdate(slot, stale=model in stale and slot.running)  # 17
        self._plan(now)
        return self._board.take()

    def _enter(self, event: Event) -> bool:
        match event:
            case Arrived():
                return self._arrived(event)
            case Left(ticket, now):
                return self._left(ticket, now)
            case Loaded(model, now):
                return self._loaded(model, now)
            case LoadFailed(model, now, error):
                return self._load_failed(model, now, error)
            case Unloaded():
                return self._unloaded(event)
            case UnloadRequested(model, _, reason):
                return self._unload_requested(model, reason)
            case Tick():
                return False
            case Closing():
                return self._close()
            case _:
                assert_never(event)

    def _plan(self, now: float) -> None:
        if self._board.waited_for:
            Plan(self._board, self._policy, now).run()
        else:
            self._board.lift_bars()

    def _arrived(self, event: Arrived) -> bool:
        board = self._board
        slot = board.slots.get(event.model)
        if self._closing:  # 1
            board.refuse(event.ticket, Refusal(RefusalKind.SHUTTING_DOWN))
            return False
        if slot is None or slot.retired:  # 2
            board.refuse(event.ticket, Refusal(RefusalKind.UNKNOWN_MODEL))
            return False
        if slot.phase is Phase.UP and slot.bar is None and not slot.line and slot.has_place:  # 3
            board.grant(slot, event.ticket)
            return False
        rest = 0.0 if slot.running or event.force else slot.backoff.remaining(event.now)
        if rest > 0:  # 4
            board.refuse(event.ticket, Refusal(RefusalKind.BACKED_OFF, rest, slot.backoff.error))
            return False
        if len(slot.line) >= slot.limits.queue:  # 5
            board.refuse(event.ticket, Refusal(RefusalKind.QUEUE_FULL))
            return False
        waiter = board.join(slot, event)  # 6
        return not slot.running and slot.line.head is waiter

    def _left(self, ticket: int, now: float) -> bool:
        board = self._board
        waiter = board.waiting.get(ticket)
        if waiter is not None:  # 7
            first = waiter.slot.line.head is waiter
            board.forget(waiter)
            return first
        slot = board.granted.get(ticket)
        if slot is None:  # 9
            return False
        board.release(slot, ticket)  # 8
        if slot.phase is not Phase.UP:
            return False
        if slot.line:
            board.serve(slot, now)
        if slot.granted:
            return False
        self._let_go(slot)
        return True

    def _loaded(self, model: ModelId, now: float) -> bool:
        slot = self._board.slots.get(model)
        if slot is None or slot.phase is not Phase.LOADING:  # 10, told to go meanwhile
            return False
        self._board.up(slot, now)
        self._board.serve(slot, now)
        self._let_go(slot)
        return True

    def _load_failed(self, model: ModelId, now: float, error: object) -> bool:
        slot = self._board.slots.get(model)
        if slot is None or slot.phase not in (Phase.LOADING, Phase.UNLOADING):
            return False
        if slot.phase is Phase.LOADING:  # 11
            slot.backoff.failed(now, error)
            rest = slot.backoff.remaining(now)
            self._board.refuse_line(slot, Refusal(RefusalKind.LOAD_FAILED, rest or None, error))
        self._down(slot)
        return True

    def _unloaded(self, event: Unloaded) -> bool:
        slot = self._board.slots.get(event.model)
        if slot is None or slot.phase is Phase.DOWN:
            return False
        if slot.phase is Phase.LOADING:  # 12, it was never ready: what LoadFailed is
            return self._load_failed(event.model, event.now, event.error)
        crashed = event.crashed and slot.phase is Phase.UP
        slot.backoff.ended(event.now, crashed=crashed, error=event.error)
        self._down(slot)
        rest = slot.backoff.remaining(event.now)
        if rest > 0:
            refusal = Refusal(RefusalKind.BACKED_OFF, rest, slot.backoff.error)
            self._board.refuse_line(slot, refusal, spare_forced=True)
        return True

    def _unload_requested(self, model: ModelId, reason: StopReason) -> bool:
        slot = self._board.slots.get(model)
        if slot is None or (reason is StopReason.IDLE and (slot.granted or slot.line)):  # 13
            return False
        self._board.refuse_line(slot, Refusal(RefusalKind.UNLOADED))  # 14
        if slot.running:
            self._board.unload(slot, reason)
        return True

    def _close(self) -> bool:
        self._closing = True  # 15
        for slot in sorted(self._board.waited_for.values(), key=lambda slot: slot.line.head.key):
            self._board.refuse_line(slot, Refusal(RefusalKind.SHUTTING_DOWN))
        for model in sorted(self._board.active):
            if self._board.active[model].running:
                self._board.unload(self._board.active[model], StopReason.SHUTDOWN)
        return False

    def _retire(self, slot: Slot) -> None:
        slot.retired = True
        if not slot.running:
            self._board.refuse_line(slot, Refusal(RefusalKind.UNKNOWN_MODEL))
        if slot.phase is Phase.DOWN:
            del self._board.slots[slot.model]
        elif slot.phase is Phase.LOADING and not slot.line:
            self._board.unload(slot, StopReason.RELOAD)
        else:
            self._let_go(slot)

    def _outdate(self, slot: Slot, *, stale: bool) -> None:
        slot.stale = stale
        if stale and slot.phase is Phase.LOADING:
            self._board.unload(slot, StopReason.RELOAD)
        else:
            self._let_go(slot)

    def _let_go(self, slot: Slot) -> None:
        """Stop what is up and was only waited with until it is idle."""
        if slot.phase is not Phase.UP or slot.granted:
            return
        if slot.stale or (slot.retired and not slot.line):
            self._board.unload(slot, StopReason.RELOAD)

    def _down(self, slot: Slot) -> None:
        if slot.retired:
            self._board.refuse_line(slot, Refusal(RefusalKind.UNKNOWN_MODEL))
        self._board.down(slot)

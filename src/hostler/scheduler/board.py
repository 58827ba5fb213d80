"""The scheduler's books: which slot holds which ticket, and the commands that follow from each entry.

Every change to the books that the outside has to carry out is made by the method that also writes the
command, so the two cannot disagree. Nothing here decides.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from hostler.core import ModelId, StopReason
from hostler.scheduler.events import Arrived, Command, Grant, Load, Refusal, Refuse, Unload
from hostler.scheduler.slots import Key, Limits, Phase, Slot, Waiter


class Board:
    """All slots and tickets. Only `Scheduler` and its plan write it."""

    __slots__ = (
        "_barred",
        "_commands",
        "_seq",
        "_young",
        "active",
        "granted",
        "max_wait",
        "slots",
        "waited_for",
        "waiting",
    )

    def __init__(self, limits: Mapping[ModelId, Limits], max_wait: float) -> None:
        self.max_wait = max_wait
        self.slots = {model: Slot(model, limit) for model, limit in limits.items()}
        self.active: dict[ModelId, Slot] = {}  # every slot that is not down
        self.waited_for: dict[ModelId, Slot] = {}  # every slot with a line
        self.waiting: dict[int, Waiter] = {}
        self.granted: dict[int, Slot] = {}
        self._young: OrderedDict[int, Waiter] = OrderedDict()  # waiting and not aged, by arrival
        self._barred: list[Slot] = []
        self._seq = 0
        self._commands: list[Command] = []

    def take(self) -> list[Command]:
        """The commands since the last call."""
        commands, self._commands = self._commands, []
        return commands

    # -- tickets ----------------------------------------------------------------------------------------

    def join(self, slot: Slot, event: Arrived) -> Waiter:
        """Put a ticket into the line of `slot`."""
        self._seq += 1
        waiter = Waiter(event.ticket, slot, event.now, self._seq, event.priority, event.force)
        slot.line.add(waiter)
        self.waiting[waiter.ticket] = waiter
        self._young[waiter.ticket] = waiter
        self.waited_for[slot.model] = slot
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """Take a ticket out of its line."""
        slot = waiter.slot
        slot.line.remove(waiter)
        del self.waiting[waiter.ticket]
        self._young.pop(waiter.ticket, None)
        if not slot.line:
            del self.waited_for[slot.model]

    def grant(self, slot: Slot, ticket: int) -> None:
        """Give a ticket that stands in no line its grant."""
        self.hold(slot, ticket)
        self._commands.append(Grant(ticket))

    def hold(self, slot: Slot, ticket: int) -> None:
        """A grant of which whoever asks learns by the answer, not by a command."""
        slot.granted.add(ticket)
        self.granted[ticket] = slot

    def serve(self, slot: Slot, now: float) -> None:
        """Grant from the line of a model that is up, as far as its limit and its bar allow."""
        while slot.line and slot.has_place and slot.admits(slot.line.head, now):
            waiter = slot.line.head
            self.forget(waiter)
            self.grant(slot, waiter.ticket)

    def refuse(self, ticket: int, refusal: Refusal) -> None:
        """Refuse a ticket that stands in no line."""
        self._commands.append(Refuse(ticket, refusal))

    def refuse_line(self, slot: Slot, refusal: Refusal, *, spare_forced: bool = False) -> None:
        """Refuse everybody who waits for `slot`."""
        for waiter in slot.line:
            if not (spare_forced and waiter.force):
                self.forget(waiter)
                self.refuse(waiter.ticket, refusal)

    def release(self, slot: Slot, ticket: int) -> None:
        """A granted ticket is over."""
        del self.granted[ticket]
        slot.granted.discard(ticket)

    def age(self, now: float) -> bool:
        """Move tickets that have waited for `max_wait` to the front; whether there were any."""
        found = False
        while self._young:
            waiter = next(iter(self._young.values()))
            if waiter.arrived + self.max_wait > now:
                break
            del self._young[waiter.ticket]
            waiter.slot.line.age(waiter)
            found = True
        return found

    def next_ageing(self) -> float | None:
        """When the next ticket ages; None when none will."""
        if not self._young:
            return None
        due = next(iter(self._young.values())).arrived + self.max_wait
        return None if due == float("inf") else due

    def position(self, ticket: int) -> int | None:
        """The place of a waiting ticket among all that wait, from 1."""
        waiter = self.waiting.get(ticket)
        if waiter is None:
            return None
        return 1 + sum(slot.line.ahead_of(waiter.key) for slot in self.waited_for.values())

    # -- models -----------------------------------------------------------------------------------------

    def load(self, slot: Slot) -> None:
        """Start the model's process."""
        slot.move(Phase.LOADING)
        self.active[slot.model] = slot
        self._commands.append(Load(slot.model))

    def up(self, slot: Slot, now: float) -> None:
        """The process is ready; who waits now is the batch it was loaded for."""
        slot.move(Phase.UP)
        slot.bar = None
        slot.batch = self._seq
        slot.batch_until = now + self.max_wait
        slot.backoff.ready(now)

    def bar(self, slot: Slot, key: Key) -> None:
        """Let nobody behind `key` be served by this model, until the next plan."""
        if slot.bar is None or key < slot.bar:
            slot.bar = key
            self._barred.append(slot)

    def lift_bars(self) -> None:
        """Undo every `bar`."""
        for slot in self._barred:
            slot.bar = None
        self._barred.clear()

    def unload(self, slot: Slot, reason: StopReason) -> None:
        """Stop the model's process."""
        slot.move(Phase.UNLOADING)
        slot.bar = None
        self._commands.append(Unload(slot.model, reason))

    def down(self, slot: Slot) -> None:
        """The process is gone, and with it every grant."""
        slot.move(Phase.DOWN)
        slot.bar = None
        slot.stale = False
        del self.active[slot.model]
        for ticket in slot.granted:
            del self.granted[ticket]
        slot.granted.clear()
        if slot.retired:
            del self.slots[slot.model]

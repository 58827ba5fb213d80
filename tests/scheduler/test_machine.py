"""Random fleets: whatever happens in whatever order, the promises hold and nobody is stranded."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import assert_never

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hostler.core import ModelId, StopReason
from hostler.scheduler.core import Limits, Phase, Scheduler
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
    RefusalKind,
    Refuse,
    Tick,
    Unload,
    Unloaded,
    UnloadRequested,
)
from hostler.scheduler.policy import Policy

from .policies import MODELS, model_ids, policies

DOWN, LOADING, UP, UNLOADING = Phase.DOWN, Phase.LOADING, Phase.UP, Phase.UNLOADING


@dataclass
class Shadow:
    """What an outsider knows from events and commands alone."""

    limits: dict[ModelId, Limits]
    phase: dict[ModelId, Phase] = field(default_factory=lambda: dict.fromkeys(MODELS, DOWN))
    granted: dict[ModelId, set[int]] = field(default_factory=lambda: {model: set() for model in MODELS})
    waiting: dict[int, Arrived] = field(default_factory=dict)  # by arrival
    stale: set[ModelId] = field(default_factory=set)

    def models(self, *phases: Phase) -> list[ModelId]:
        return [model for model in MODELS if self.phase[model] in phases]

    def line(self, model: ModelId) -> int:
        return sum(one.model == model for one in self.waiting.values())

    def has_place(self, model: ModelId) -> bool:
        if model in self.stale:
            return False
        limit = self.limits[model].concurrency
        return limit == 0 or len(self.granted[model]) < limit


class Fleet(RuleBasedStateMachine):
    """A scheduler and everything that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tickets = 0
        self.closing = False
        self.sound = False

    @initialize(
        policy=policies(),
        concurrency=st.lists(st.integers(0, 2), min_size=len(MODELS), max_size=len(MODELS)),
        queue=st.sampled_from([1, 3, 1000]),
        max_wait=st.sampled_from([0.0, 5.0, 60.0, 60.0, float("inf")]),
    )
    def begin(self, policy: Policy, concurrency: list[int], queue: int, max_wait: float) -> None:
        self.policy = policy
        self.max_wait = max_wait
        limits = {model: Limits(limit, queue) for model, limit in zip(MODELS, concurrency, strict=True)}
        self.shadow = Shadow(limits)
        self.scheduler = Scheduler(policy, limits=limits, max_wait=max_wait)
        self.sound = True

    # -- carrying commands out, and checking each ------------------------------------------------------------

    def send(self, event: Event) -> list[Command]:
        commands = self.scheduler.handle(event)
        self.check(commands, event)
        return commands

    def check(self, commands: list[Command], event: Event) -> None:
        self.sound = False  # until every command has passed its check
        for command in commands:
            match command:
                case Load(model):
                    self.check_load(model)
                case Unload(model, reason):
                    self.check_unload(model, reason, event)
                case Grant(ticket):
                    self.check_grant(ticket, event)
                case Refuse(ticket, refusal):
                    self.check_refusal(self.shadow.waiting.pop(ticket), refusal.kind)
                case _:
                    assert_never(command)
        self.sound = True

    def check_load(self, model: ModelId) -> None:
        shadow = self.shadow
        others = shadow.models(LOADING, UP, UNLOADING)
        assert not self.closing
        assert shadow.phase[model] is DOWN
        assert shadow.line(model), "nobody waits for it"
        assert not self.policy.evict(model, others), "loaded beside what should have gone"
        shadow.phase[model] = LOADING

    def check_unload(self, model: ModelId, reason: StopReason, event: Event) -> None:
        shadow = self.shadow
        assert shadow.phase[model] in (LOADING, UP)
        if reason is StopReason.EVICTED:
            assert not shadow.granted[model], "a swap cut a running request"
            assert shadow.phase[model] is UP or not shadow.line(model), "a swap cut a load somebody waits for"
            targets = {one.model for one in shadow.waiting.values()}
            assert targets & set(shadow.models(DOWN, UNLOADING)), "evicted for nobody"
        elif reason is StopReason.SHUTDOWN:
            assert isinstance(event, Closing)
        elif reason is StopReason.RELOAD:
            assert model in shadow.stale
            assert not shadow.granted[model], "a reload cut a running request"
        else:
            assert isinstance(event, UnloadRequested)
            assert (event.model, event.reason) == (model, reason)
        shadow.phase[model] = UNLOADING

    def check_grant(self, ticket: int, event: Event) -> None:
        shadow = self.shadow
        waiter = shadow.waiting[ticket]
        model = waiter.model
        assert shadow.phase[model] is UP
        assert shadow.has_place(model), "over the limit"
        oldest = next(iter(shadow.waiting.values()))
        if isinstance(event, Arrived) and self.is_aged(oldest) and self.must_go_for(oldest, model):
            raise AssertionError("overtook an aged ticket that needs its model gone")
        del shadow.waiting[ticket]
        shadow.granted[model].add(ticket)

    def check_refusal(self, waiter: Arrived, kind: RefusalKind) -> None:
        if kind is RefusalKind.QUEUE_FULL:
            assert self.shadow.line(waiter.model) >= self.shadow.limits[waiter.model].queue
        if kind is RefusalKind.BACKED_OFF:
            assert not waiter.force
        assert (kind is RefusalKind.SHUTTING_DOWN) == self.closing
        assert kind is not RefusalKind.UNKNOWN_MODEL

    def is_aged(self, waiter: Arrived) -> bool:
        return waiter.now + self.max_wait <= self.now

    def must_go_for(self, waiter: Arrived, model: ModelId) -> bool:
        """Whether `model` has to go for `waiter`, if that is the oldest of all."""
        shadow = self.shadow
        if shadow.phase[waiter.model] in (LOADING, UP):
            return False
        return model in self.policy.evict(waiter.model, shadow.models(LOADING, UP))

    # -- what can happen -------------------------------------------------------------------------------------

    @rule(model=model_ids(), priority=st.integers(-1, 1), force=st.sampled_from([False, False, False, True]))
    def arrive(self, model: ModelId, priority: int, force: bool) -> None:
        shadow = self.shadow
        self.tickets += 1
        event = Arrived(self.tickets, model, self.now, priority, force)
        at_once = not shadow.waiting and shadow.phase[model] is UP and shadow.has_place(model)
        shadow.waiting[event.ticket] = event
        commands = self.send(event)
        if at_once:
            assert commands == [Grant(event.ticket)]

    @rule(model=model_ids())
    def arrive_at_once(self, model: ModelId) -> None:
        """The short way gives what the long one would have given at once, and else does nothing."""
        self.tickets += 1
        event = Arrived(self.tickets, model, self.now)
        long = deepcopy(self.scheduler).handle(event)
        expected = not self.shadow.waiting and long == [Grant(event.ticket)]
        assert self.scheduler.grant_now(event.ticket, model) is expected
        if expected:
            self.shadow.granted[model].add(event.ticket)

    @precondition(lambda self: self.shadow.waiting)
    @rule(pick=st.integers(0, 99))
    def give_up(self, pick: int) -> None:
        ticket = list(self.shadow.waiting)[pick % len(self.shadow.waiting)]
        del self.shadow.waiting[ticket]
        self.send(Left(ticket, self.now))
        assert self.scheduler.position(ticket) is None

    @precondition(lambda self: any(self.shadow.granted.values()))
    @rule(pick=st.integers(0, 99), twice=st.booleans(), short=st.booleans())
    def finish(self, pick: int, twice: bool, short: bool = False) -> None:
        running = [(model, ticket) for model in MODELS for ticket in sorted(self.shadow.granted[model])]
        model, ticket = running[pick % len(running)]
        self.shadow.granted[model].discard(ticket)
        left = Left(ticket, self.now)
        if short:
            long = deepcopy(self.scheduler).handle(left)
            commands = self.scheduler.leave(ticket, self.now)
            assert commands == long
            self.check(commands, left)
        else:
            self.send(left)
        if twice:
            assert not self.send(left)

    @precondition(lambda self: self.shadow.models(LOADING))
    @rule(pick=st.integers(0, 99), outcome=st.sampled_from("uuuuf"))
    def end_load(self, pick: int, outcome: str) -> None:
        loading = self.shadow.models(LOADING)
        model = loading[pick % len(loading)]
        if outcome == "u":
            self.shadow.phase[model] = UP
            self.send(Loaded(model, self.now))
        else:
            self.is_down(model)
            self.send(LoadFailed(model, self.now, "no memory"))

    @precondition(lambda self: self.shadow.models(UNLOADING))
    @rule(pick=st.integers(0, 99), late=st.sampled_from(["", "", "loaded", "failed"]))
    def end_unload(self, pick: int, late: str) -> None:
        unloading = self.shadow.models(UNLOADING)
        model = unloading[pick % len(unloading)]
        if late == "loaded":
            self.send(Loaded(model, self.now))
        self.is_down(model)
        if late == "failed":
            self.send(LoadFailed(model, self.now, "cut"))
        else:
            self.send(Unloaded(model, self.now, crashed=False))

    @precondition(lambda self: self.shadow.models(UP))
    @rule(pick=st.integers(0, 99))
    def crash(self, pick: int) -> None:
        up = self.shadow.models(UP)
        model = up[pick % len(up)]
        self.is_down(model)
        self.send(Unloaded(model, self.now, crashed=True, error="killed"))

    def is_down(self, model: ModelId) -> None:
        self.shadow.phase[model] = DOWN
        self.shadow.stale.discard(model)
        self.shadow.granted[model].clear()

    @rule(model=model_ids(), reason=st.sampled_from([StopReason.API, StopReason.IDLE, StopReason.IDLE]))
    def ask_unload(self, model: ModelId, reason: StopReason) -> None:
        shadow = self.shadow
        needed = bool(shadow.granted[model]) or shadow.line(model) > 0
        running = shadow.phase[model] in (LOADING, UP)
        commands = self.send(UnloadRequested(model, self.now, reason))
        if reason is StopReason.IDLE and needed:
            assert commands == []
        else:
            assert (Unload(model, reason) in commands) is running
            assert not shadow.line(model)

    @rule(stale=st.frozensets(model_ids()), changed=st.frozensets(model_ids()))
    def reload(self, stale: frozenset[ModelId], changed: frozenset[ModelId]) -> None:
        waiting = set(self.shadow.waiting)
        self.shadow.stale = set(stale).intersection(self.shadow.models(LOADING, UP))
        commands = self.scheduler.replace(now=self.now, stale=stale, changed=changed)
        self.check(commands, Tick(self.now))
        assert not any(isinstance(command, Refuse) for command in commands), "a reload refused somebody"
        assert waiting >= set(self.shadow.waiting)

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.9, 5.0, 11.0, 60.0]), tick=st.booleans())
    def wait(self, seconds: float, tick: bool) -> None:
        self.now += seconds
        if tick:
            self.send(Tick(self.now))

    @precondition(lambda self: self.tickets > 10 and not self.closing)
    @rule(sure=st.integers(0, 9))
    def close(self, sure: int) -> None:
        if sure == 0:
            self.closing = True
            self.send(Closing(self.now))
            assert not self.shadow.waiting
            assert not self.shadow.models(LOADING, UP)

    # -- what always holds -----------------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        shadow, scheduler = self.shadow, self.scheduler
        for model in MODELS:
            assert scheduler.phase(model) is shadow.phase[model]
            assert scheduler.granted(model) == len(shadow.granted[model])
            assert scheduler.waiting(model) == shadow.line(model)
            assert shadow.line(model) <= shadow.limits[model].queue
        positions = [scheduler.position(ticket) or 0 for ticket in shadow.waiting]
        assert sorted(positions) == list(range(1, len(positions) + 1))

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        shadow = self.shadow
        for model in shadow.models(UP):
            if shadow.line(model) and shadow.has_place(model):
                assert self.scheduler.draining(model)
            if self.scheduler.draining(model):
                assert any(self.is_aged(one) for one in shadow.waiting.values() if one.model != model)
        if shadow.waiting and not any(shadow.granted.values()):
            assert shadow.models(LOADING, UNLOADING), "no event can follow any more"

    @invariant()
    def a_tick_is_due_as_long_as_a_ticket_can_age(self) -> None:
        wake = self.scheduler.next_wakeup(self.now)
        young = [one.now + self.max_wait for one in self.shadow.waiting.values()]
        if wake is None:
            assert all(due <= self.now or due == float("inf") for due in young)
        else:
            assert wake >= self.now
            assert wake in (*young, self.now)

    # -- in the end ------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let everything that can end do so: each ticket gets its answer within a bounded number of steps."""
        if not self.sound:
            return  # what happens next would only hide what went wrong
        # Each load serves at least one ticket, and there is at most one unload for each load.
        steps = 4 * (len(self.shadow.waiting) + len(MODELS)) + 10 + self.tickets
        while self.step_to_the_end():
            self.the_books_agree()
            self.nobody_waits_for_nothing()
            steps -= 1
            assert steps > 0, "it goes round in circles"
        assert not self.shadow.waiting, "stranded"
        assert not any(self.shadow.granted.values())

    def step_to_the_end(self) -> bool:
        shadow = self.shadow
        ways: list[tuple[bool, Callable[[], None]]] = [
            (bool(shadow.models(UNLOADING)), lambda: self.end_unload(0, "")),
            (bool(shadow.models(LOADING)), lambda: self.end_load(0, "u")),
            (any(shadow.granted.values()), lambda: self.finish(0, twice=False)),
        ]
        for possible, way in ways:
            if possible:
                way()
                return True
        return False


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)

"""What must hold: the timer fires `ttl` seconds after the last use, never while the model is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from hostler.clock import ManualClock
from hostler.config.schema import Model
from hostler.core import ModelId, State
from hostler.fleet.idle import IdleTimer
from hostler.fleet.slot import Slot
from hostler.logs.source import SourceLog


@dataclass
class Timers:
    """Stands in for the event loop: `pass_time` moves the clock and calls what is due."""

    clock: ManualClock
    due: list[Any] = field(default_factory=list)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timers.Handle:
        handle = Timers.Handle(self.clock.monotonic() + delay, callback)
        self.due.append(handle)
        return handle

    @dataclass
    class Handle:
        when: float
        callback: Callable[[], None]
        cancelled: bool = False

        def cancel(self) -> None:
            self.cancelled = True

    @property
    def armed(self) -> int:
        return sum(not handle.cancelled for handle in self.due)

    def pass_time(self, seconds: float) -> None:
        end = self.clock.monotonic() + seconds
        while True:
            self.due = [handle for handle in self.due if not handle.cancelled]
            ready = sorted((h for h in self.due if h.when <= end), key=lambda h: float(h.when))
            if not ready:
                break
            self.due.remove(ready[0])
            self.clock.advance(ready[0].when - self.clock.monotonic())
            ready[0].callback()
        self.clock.advance(end - self.clock.monotonic())


@dataclass
class Bench:
    slot: Slot
    timer: IdleTimer
    timers: Timers
    reached: list[float]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    clock = ManualClock()
    timers = Timers(clock)
    monkeypatch.setattr("hostler.fleet.idle.asyncio.get_running_loop", lambda: timers)
    slot = Slot(Model(ModelId("a"), ttl=10), SourceLog("a", epoch="e"), state=State.READY)
    reached: list[float] = []
    timer = IdleTimer(slot, lambda _: reached.append(clock.monotonic()), clock)
    return Bench(slot, timer, timers, reached)


def test_it_fires_when_the_time_is_over(bench: Bench) -> None:
    bench.timer.arm()
    bench.timers.pass_time(9.9)
    assert bench.reached == []

    bench.timers.pass_time(100)
    assert bench.reached == [10]


def test_a_request_meanwhile_moves_the_end(bench: Bench) -> None:
    """Only a time stamp is written; the timer sees it when it fires too early."""
    bench.timer.arm()
    bench.timers.pass_time(6)
    bench.slot.last_used = 6
    bench.timer.arm()
    assert bench.timers.armed == 1

    bench.timers.pass_time(100)
    assert bench.reached == [16]


def test_it_does_not_fire_while_the_model_is_used(bench: Bench) -> None:
    bench.timer.arm()
    bench.slot.active = 1
    bench.timers.pass_time(100)
    assert bench.reached == []

    bench.slot.active = 0
    bench.slot.last_used = 100
    bench.timer.arm()
    bench.timers.pass_time(100)
    assert bench.reached == [110]


@pytest.mark.parametrize(("ttl", "fires"), [(5, [6.0]), (3, [6.0]), (60, [60.0]), (0, [])])
def test_another_ttl_counts_from_the_last_use(bench: Bench, ttl: int, fires: list[float]) -> None:
    """One that has been over for a while fires at once."""
    bench.timer.arm()
    bench.timers.pass_time(6)

    bench.slot.model = replace(bench.slot.model, ttl=ttl)
    bench.timer.ttl_changed()
    assert bench.timers.armed == len(fires)
    bench.timers.pass_time(100)

    assert bench.reached == fires


def test_another_ttl_of_a_model_in_use_waits_for_its_last_request(bench: Bench) -> None:
    bench.slot.active = 1
    bench.timer.ttl_changed()
    assert bench.timers.armed == 0


@pytest.mark.parametrize("state", [state for state in State if state is not State.READY])
def test_only_a_ready_model_can_be_idle(bench: Bench, state: State) -> None:
    bench.timer.arm()
    bench.slot.state = state
    bench.timer.cancel()
    bench.timer.arm()
    assert bench.timers.armed == 0

    bench.slot.state = State.READY
    bench.timer.arm()
    bench.slot.state = state
    bench.timers.pass_time(100)
    assert bench.reached == []


def test_a_cancelled_timer_does_not_fire_and_can_be_armed_again(bench: Bench) -> None:
    bench.timer.arm()
    bench.timer.cancel()
    bench.timers.pass_time(100)
    assert bench.reached == []

    bench.slot.last_used = 100
    bench.timer.arm()
    bench.timers.pass_time(100)
    assert bench.reached == [110]


def test_without_a_ttl_there_is_no_timer(bench: Bench) -> None:
    slot = Slot(Model(ModelId("b"), ttl=0), SourceLog("b", epoch="e"), state=State.READY)
    IdleTimer(slot, lambda _: None, bench.timers.clock).arm()

    assert bench.timers.armed == 0

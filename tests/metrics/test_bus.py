"""What must hold: every listener gets every event once, or is told exactly how many it missed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hostler.metrics.bus import EventBus


@given(st.lists(st.integers(0, 40), max_size=30), st.integers(1, 20))
def test_events_read_and_missed_add_up(steps: list[int], capacity: int) -> None:
    """Each step publishes some events and then reads once, so that the reader falls behind or not."""
    bus = EventBus(max_events=capacity)
    at = read = missed_in_all = 0
    for step in steps:
        for _ in range(step):
            bus.publish("x", {})
        events, missed = bus.read(at, limit=7)
        if events:
            assert [event.number for event in events] == list(
                range(at + missed + 1, at + missed + len(events) + 1)
            )
            at = events[-1].number
        read += len(events)
        missed_in_all += missed

    assert read + missed_in_all == at
    assert len(bus._events) <= capacity


def test_bytes_are_bounded() -> None:
    bus = EventBus(max_bytes=1000)
    for _ in range(20):
        bus.publish("x", "y" * 300)

    assert bus._bytes <= 1000
    assert len(bus._events) == 3
    bus.publish("x", "y" * 5000)
    assert len(bus._events) == 1


async def test_a_waiter_is_woken_and_a_forgotten_one_is_not() -> None:
    bus = EventBus()
    first, second = bus.register_waiter(), bus.register_waiter()
    bus.forget_waiter(second)
    bus.publish("x", {"a": 1})

    assert first.done()
    assert not second.done()
    assert bus.waiting == 0
    third = bus.register_waiter()
    bus.close()
    assert third.done()
    assert bus.register_waiter().done()
    bus.publish("x", {})
    assert bus.end == 1


def test_resuming_needs_the_same_life() -> None:
    bus, other = EventBus(), EventBus()
    for _ in range(5):
        bus.publish("x", {})

    assert bus.resume(bus.id_of(3)) == (3, True)
    for text in (other.id_of(3), bus.id_of(6), "", "3", f"{bus.epoch}-x", f"{bus.epoch}-²"):
        assert bus.resume(text) == (0, False)

"""Writing to a monitor: what is stored, passed on, pushed, and what it costs in memory."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import Callable

import pytest

from hostler.clock import ManualClock
from hostler.errors import NotFound
from hostler.logs.levels import Level, format_time
from hostler.logs.monitor import Cursor, LogMonitor

EMPTY = sys.getsizeof(bytearray())


def test_a_write_reaches_all_parents() -> None:
    root = LogMonitor("root", epoch="e")
    left = LogMonitor("left", epoch="e", parents=[root])
    right = LogMonitor("right", epoch="e", parents=[root])
    leaf = LogMonitor("leaf", epoch="e", parents=[left, right])
    leaf.write(b"a")
    right.write(b"b")
    assert (leaf.history(), left.history(), right.history(), root.history()) == (b"a", b"a", b"ab", b"aab")


def test_input_buffers_can_be_reused() -> None:
    root = LogMonitor("root", epoch="e")
    leaf = LogMonitor("leaf", epoch="e", parents=[root])
    pushed: list[bytes] = []
    leaf.subscribe(pushed.append)
    buffer = bytearray(b"first ")
    leaf.write(buffer)
    buffer[:] = b"second"
    leaf.write(memoryview(buffer))
    buffer[:] = b"XXXXXX"
    assert leaf.history() == root.history() == b"first second"
    assert pushed == [b"first ", b"second"]
    assert all(type(data) is bytes for data in pushed)


def test_an_empty_write_is_nothing() -> None:
    root = LogMonitor("root", epoch="e")
    leaf = LogMonitor("leaf", epoch="e", parents=[root])
    pushed: list[bytes] = []
    leaf.subscribe(pushed.append)
    root.subscribe(pushed.append)
    for empty in (b"", bytearray(), memoryview(b"")):
        leaf.write(empty)
    assert (pushed, leaf.end, sys.getsizeof(leaf._held)) == ([], 0, EMPTY)


def test_memory_is_held_only_between_write_and_clear() -> None:
    monitor = LogMonitor("m", epoch="e")
    assert sys.getsizeof(monitor._held) == EMPTY
    tracemalloc.start()
    try:
        base = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            monitor.write(b"x" * 1000)
        held = tracemalloc.get_traced_memory()[0] - base
        monitor.clear()
        left = tracemalloc.get_traced_memory()[0] - base
    finally:
        tracemalloc.stop()
    assert 102_400 <= held <= 2 * 102_400 + 1000
    assert left < 1000
    assert sys.getsizeof(monitor._held) == EMPTY
    assert (monitor.start, monitor.end) == (1_000_000, 1_000_000)


async def test_clear_also_releases_what_followers_shared() -> None:
    monitor = LogMonitor("m", epoch="e")
    monitor.write(b"abc")
    assert monitor.follow().read_nowait() is monitor.follow().read_nowait()
    monitor.clear()
    assert monitor._shared is None


def test_levels_filter_only_our_own_lines() -> None:
    monitor = LogMonitor("proxy", epoch="e", level="warn", prefix="hostler")
    for write in (monitor.debug, monitor.info, monitor.warn, monitor.error):
        write("m")
    monitor.write(b"raw\n")
    assert monitor.history() == b"[hostler] [WARN] m\n[hostler] [ERROR] m\nraw\n"
    monitor.configure(level=Level.DEBUG)
    monitor.clear()
    monitor.debug("now")
    assert monitor.history() == b"[hostler] [DEBUG] now\n"
    monitor.configure(time_format="kitchen")
    assert (monitor.level, monitor.time_format) == (Level.DEBUG, "kitchen")


def test_lines_are_stamped_with_local_time() -> None:
    clock = ManualClock()
    monitor = LogMonitor("proxy", epoch="e", time_format="RFC3339", clock=clock)
    clock.advance(60)
    monitor.info("m")
    stamp = format_time("rfc3339", clock.wall().astimezone())
    assert monitor.history().decode() == f"{stamp} [INFO] m\n"
    monitor.configure(time_format="")
    monitor.clear()
    monitor.info("m")
    assert monitor.history() == b"[INFO] m\n"


def test_a_line_never_fails_for_its_text() -> None:
    monitor = LogMonitor("proxy", epoch="e")
    monitor.info("ä \udcff")
    assert monitor.history().decode() == "[INFO] ä \\udcff\n"


def test_tail() -> None:
    monitor = LogMonitor("m", epoch="e", capacity=20)
    assert monitor.tail(5) == []
    monitor.write(b"one\ntwo\n10%\r20%\nrest")
    assert monitor.tail(2) == ["20%", "rest"]
    assert monitor.tail(9) == ["one", "two", "20%", "rest"]
    assert monitor.tail(9, since=4) == ["two", "20%", "rest"]
    assert monitor.tail(9, since=monitor.end) == []
    assert monitor.tail(9, since=10_000) == []
    monitor.write(b"!\n")
    assert monitor.tail(9) == ["e", "two", "20%", "rest!"]


def test_subscribers_cancel_alone_and_only_once() -> None:
    monitor = LogMonitor("m", epoch="e")
    first: list[bytes] = []
    second: list[bytes] = []
    cancel_first = monitor.subscribe(first.append)
    monitor.subscribe(second.append)
    monitor.write(b"a")
    cancel_first()
    cancel_first()
    monitor.write(b"b")
    assert (first, second) == ([b"a"], [b"a", b"b"])


def test_the_same_callback_twice_is_two_subscriptions() -> None:
    monitor = LogMonitor("m", epoch="e")
    got: list[bytes] = []
    monitor.subscribe(got.append)
    cancel = monitor.subscribe(got.append)
    monitor.write(b"a")
    cancel()
    monitor.write(b"b")
    assert got == [b"a", b"a", b"b"]


def test_a_subscriber_that_raises_is_dropped_and_counted() -> None:
    root = LogMonitor("root", epoch="e")
    monitor = LogMonitor("m", epoch="e", parents=[root])
    got: list[bytes] = []
    calls = 0

    def broken(_: bytes) -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("no")

    monitor.subscribe(broken)
    monitor.subscribe(got.append)
    monitor.write(b"a")
    monitor.write(b"b")
    assert (calls, got, monitor.dropped_subscribers) == (1, [b"a", b"b"], 1)
    assert monitor.history() == root.history() == b"ab"
    assert "1 subscribed, 1 dropped" in repr(monitor)


def test_a_subscriber_cancelled_during_a_write_gets_no_more() -> None:
    monitor = LogMonitor("m", epoch="e")
    got: list[bytes] = []
    cancels: list[Callable[[], None]] = []
    monitor.subscribe(lambda _: cancels[0]())
    cancels.append(monitor.subscribe(got.append))
    monitor.write(b"a")
    assert got == []


def test_a_closed_monitor_stores_nothing_but_hands_on() -> None:
    root = LogMonitor("root", epoch="e")
    monitor = LogMonitor("m", epoch="e", parents=[root])
    got: list[bytes] = []
    monitor.subscribe(got.append)
    monitor.write(b"a")
    monitor.close()
    monitor.close()
    monitor.write(b"b")
    assert (monitor.history(), root.history(), got) == (b"a", b"ab", [b"a"])
    assert monitor.closed


def test_runs_are_kept_over_stop_and_start() -> None:
    monitor = LogMonitor("m", epoch="e", capacity=8, keep_runs=2)
    for number in (1, 2, 3):
        monitor.begin_run(number)
        monitor.write(b"run %d\n" % number)
        monitor.end_run(number)
    monitor.clear()
    assert [(log.number, log.start, log.end, log.held) for log in monitor.runs()] == [
        (2, 6, 12, 6),
        (3, 12, 18, 6),
    ]
    assert monitor.run_history(2) == b"run 2\n"
    with pytest.raises(NotFound):
        monitor.run_history(1)
    monitor.clear(runs=True)
    assert monitor.runs() == []


def test_positions_can_go_on_from_an_earlier_log() -> None:
    monitor = LogMonitor("m", epoch="e", first_position=100)
    monitor.write(b"abc")
    assert (monitor.start, monitor.end, monitor.cursor) == (100, 103, Cursor("e", 103))


async def test_a_write_costs_one_callback_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monitor = LogMonitor("m", epoch="e")
    readers = [asyncio.create_task(monitor.follow().read()) for _ in range(1000)]
    await asyncio.sleep(0)
    assert monitor.waiting == 1000
    scheduled: list[object] = []
    call_soon = monitor._call_soon
    monkeypatch.setattr(monitor, "_call_soon", lambda call: scheduled.append(call_soon(call)))
    monitor.write(b"a")
    monitor.write(b"b")
    assert len(scheduled) == 1
    monkeypatch.undo()
    assert {chunk.data for chunk in await asyncio.gather(*readers)} == {b"ab"}
    assert monitor.waiting == 0


def test_repr_is_a_status_line() -> None:
    monitor = LogMonitor("m", epoch="e", capacity=4)
    monitor.write(b"abcdef")
    assert repr(monitor) == "<LogMonitor m 2..6 of 4 B | 0 waiting, 0 subscribed>"
    monitor.begin_run(3)
    monitor.close()
    assert repr(monitor) == "<LogMonitor m 2..6 of 4 B | 0 waiting, 0 subscribed, run 3, closed>"

"""Following a log: from where, what is missed, waiting, cancelling, ending."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import uvloop

from hostler.logs.monitor import Chunk, Cursor, Follower, LogMonitor


def monitor_with(data: bytes = b"", capacity: int = 8) -> LogMonitor:
    monitor = LogMonitor("m", epoch="e", capacity=capacity)
    monitor.write(data)
    return monitor


def chunk(data: bytes, missed: int, position: int) -> Chunk:
    return Chunk(data, missed, Cursor("e", position))


async def collect(follower: Follower) -> list[Chunk]:
    return [each async for each in follower]


async def until_waiting(monitor: LogMonitor, count: int) -> None:
    while monitor.waiting != count:
        await asyncio.sleep(0)


def test_history_and_live_are_one_stream() -> None:
    monitor = monitor_with(b"abc")
    follower = monitor.follow()
    assert follower.read_nowait() == chunk(b"abc", 0, 3)
    assert follower.read_nowait() is None
    monitor.write(b"de")
    assert follower.read_nowait() == chunk(b"de", 0, 5)
    assert follower.cursor == Cursor("e", 5)


def test_without_history_it_starts_at_the_end() -> None:
    monitor = monitor_with(b"abc")
    follower = monitor.follow(history=False)
    monitor.write(b"de")
    assert follower.read_nowait() == chunk(b"de", 0, 5)


def test_history_of_a_full_ring_is_no_gap() -> None:
    follower = monitor_with(b"0123456789").follow()
    assert follower.read_nowait() == chunk(b"23456789", 0, 10)


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [
        (Cursor("e", 5), chunk(b"56789", 0, 10)),
        (Cursor("e", 1), chunk(b"23456789", 1, 10)),
        (Cursor("e", 11), chunk(b"23456789", 2, 10)),
        (Cursor("other", 5), chunk(b"23456789", 2, 10)),
        (Cursor("e", -1), chunk(b"23456789", 2, 10)),
        (Cursor("e", 10), None),
    ],
)
def test_resuming(cursor: Cursor, expected: Chunk | None) -> None:
    assert monitor_with(b"0123456789").follow(cursor, history=False).read_nowait() == expected


def test_a_loss_is_reported_before_anything_follows_it() -> None:
    monitor = monitor_with(b"abc")
    follower = monitor.follow()
    monitor.clear()
    assert follower.read_nowait() == chunk(b"", 3, 3)
    assert follower.read_nowait() is None
    monitor.write(b"d")
    assert follower.read_nowait() == chunk(b"d", 0, 4)


def test_a_slow_follower_gets_the_exact_count() -> None:
    monitor = monitor_with(b"abc")
    follower = monitor.follow()
    follower.read_nowait()
    monitor.write(b"0123456789")
    assert follower.read_nowait() == chunk(b"23456789", 2, 13)


def test_limit_cuts_chunks() -> None:
    follower = monitor_with(b"abcdefg").follow(limit=3)
    got = [follower.read_nowait() for _ in range(4)]
    assert got == [chunk(b"abc", 0, 3), chunk(b"def", 0, 6), chunk(b"g", 0, 7), None]
    with pytest.raises(ValueError):
        monitor_with().follow(limit=0)


def test_a_chunk_shared_by_others_respects_the_limit() -> None:
    monitor = monitor_with(b"abcdefg")
    assert monitor.follow().read_nowait() == chunk(b"abcdefg", 0, 7)
    assert monitor.follow(limit=2).read_nowait() == chunk(b"ab", 0, 2)
    assert monitor.follow().read_nowait() == chunk(b"abcdefg", 0, 7)
    assert monitor.follow(Cursor("e", 2)).read_nowait() == chunk(b"cdefg", 0, 7)


async def test_a_waiting_read_gets_the_next_write() -> None:
    monitor = monitor_with()
    reader = asyncio.create_task(monitor.follow().read())
    await until_waiting(monitor, 1)
    monitor.write(b"a")
    assert await reader == chunk(b"a", 0, 1)
    assert monitor.waiting == 0


async def test_followers_that_do_not_wait_register_nothing() -> None:
    monitor = monitor_with(b"abc")
    followers = [monitor.follow() for _ in range(5)]
    assert [await follower.read() for follower in followers] == [chunk(b"abc", 0, 3)] * 5
    assert monitor.waiting == 0


async def test_five_followers_get_everything_once() -> None:
    monitor = LogMonitor("m", epoch="e")
    tasks = [asyncio.create_task(collect(monitor.follow())) for _ in range(5)]
    await until_waiting(monitor, 5)
    for number in range(500):
        monitor.write(b"line %d\n" % number)
        if number % 7 == 0:
            await asyncio.sleep(0)
    monitor.close()
    for chunks in await asyncio.gather(*tasks):
        assert b"".join(each.data for each in chunks) == monitor.history()
        assert sum(each.missed for each in chunks) == 0


async def test_a_log_that_keeps_growing_is_read_within_a_few_steps() -> None:
    monitor = LogMonitor("m", epoch="e")
    follower = monitor.follow()
    reader = asyncio.create_task(follower.read())
    await until_waiting(monitor, 1)
    steps = 0
    while not reader.done():
        monitor.write(b"x")
        await asyncio.sleep(0)
        steps += 1
    assert steps <= 8


async def test_a_flood_wakes_before_it_costs_a_byte() -> None:
    monitor = LogMonitor("m", epoch="e", capacity=8000)
    task = asyncio.create_task(collect(monitor.follow()))
    await until_waiting(monitor, 1)
    for _ in range(100):
        monitor.write(b"x" * 1500)
        await asyncio.sleep(0)
    monitor.close()
    chunks = await task
    assert sum(len(each.data) for each in chunks) == 150_000
    assert sum(each.missed for each in chunks) == 0


async def test_a_cancelled_read_loses_nothing_and_leaves_no_waiter() -> None:
    monitor = monitor_with()
    follower = monitor.follow()
    reader = asyncio.create_task(follower.read())
    await until_waiting(monitor, 1)
    reader.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reader
    assert monitor.waiting == 0
    monitor.write(b"abc")
    assert await follower.read() == chunk(b"abc", 0, 3)


@pytest.mark.parametrize("steps", range(7))
async def test_a_read_cancelled_while_it_is_being_woken_loses_nothing(steps: int) -> None:
    monitor = monitor_with()
    follower = monitor.follow()
    reader = asyncio.create_task(follower.read())
    await until_waiting(monitor, 1)
    monitor.write(b"abc")
    for _ in range(steps):
        await asyncio.sleep(0)
    reader.cancel()
    got = await asyncio.gather(reader, return_exceptions=True)
    if isinstance(got[0], Chunk):
        assert got[0] == chunk(b"abc", 0, 3)
    else:
        assert await follower.read() == chunk(b"abc", 0, 3)
    assert monitor.waiting == 0


async def test_two_reads_at_a_time_are_refused() -> None:
    monitor = monitor_with()
    follower = monitor.follow()
    reader = asyncio.create_task(follower.read())
    await until_waiting(monitor, 1)
    with pytest.raises(RuntimeError, match="one thing at a time"):
        await follower.read()
    monitor.write(b"a")
    assert (await reader).data == b"a"


async def test_closing_ends_a_pending_read() -> None:
    monitor = monitor_with()
    follower = monitor.follow()
    iteration = asyncio.create_task(collect(follower))
    await until_waiting(monitor, 1)
    follower.close()
    follower.close()
    assert await iteration == []
    assert monitor.waiting == 0
    monitor.write(b"a")
    assert follower.read_nowait() is None
    with pytest.raises(EOFError):
        await follower.read()


async def test_the_context_manager_closes() -> None:
    monitor = monitor_with(b"abc")
    async with monitor.follow() as follower:
        assert (await follower.read()).data == b"abc"
    assert repr(follower) == "<Follower of m at 3, 0 B behind, closed>"


async def test_closing_the_monitor_lets_followers_drain() -> None:
    monitor = monitor_with(b"abc")
    late = monitor.follow(limit=2)
    waiting = asyncio.create_task(collect(monitor.follow(history=False)))
    await until_waiting(monitor, 1)
    monitor.write(b"de")
    monitor.close()
    assert await waiting == [chunk(b"de", 0, 5)]
    assert await collect(late) == [chunk(b"ab", 0, 2), chunk(b"cd", 0, 4), chunk(b"e", 0, 5)]
    assert b"".join(each.data for each in await collect(monitor.follow())) == b"abcde"


async def test_finish_ends_after_what_is_there() -> None:
    monitor = monitor_with(b"abc")
    behind = monitor.follow()
    behind.finish()
    assert await collect(behind) == [chunk(b"abc", 0, 3)]
    waiting = monitor.follow(history=False)
    iteration = asyncio.create_task(collect(waiting))
    await until_waiting(monitor, 1)
    waiting.finish()
    assert await iteration == []


def test_one_monitor_outlives_several_loops() -> None:
    monitor = monitor_with()

    async def stranded() -> Follower:
        follower = monitor.follow(history=False)
        reader = asyncio.create_task(follower.read())
        await until_waiting(monitor, 1)
        monitor.write(b"a")  # the loop ends before this wake-up is through
        reader.cancel()
        return follower

    async def read_next() -> bytes:
        reader = asyncio.create_task(monitor.follow(history=False).read())
        await until_waiting(monitor, 1)
        monitor.write(b"b")
        return (await reader).data

    follower = asyncio.run(stranded())
    monitor.write(b"c")
    assert asyncio.run(read_next()) == b"b"
    assert uvloop.run(read_next()) == b"b"
    assert follower.read_nowait() == chunk(b"acbb", 0, 4)


async def test_repr_is_a_status_line() -> None:
    monitor = monitor_with(b"abc")
    follower = monitor.follow()
    assert repr(follower) == "<Follower of m at 0, 3 B behind, reading>"
    await follower.read()
    reader = asyncio.create_task(follower.read())
    await until_waiting(monitor, 1)
    assert repr(follower) == "<Follower of m at 3, 0 B behind, waiting>"
    follower.close()
    with pytest.raises(EOFError):
        await reader


async def test_every_gap_that_is_told_is_counted() -> None:
    monitor = LogMonitor("m", epoch="e", capacity=10)
    first, second = monitor.follow(Cursor("e", 0)), monitor.follow(Cursor("e", 0))
    monitor.write(b"0123456789abcde")
    assert (monitor.gaps, monitor.gap_bytes) == (0, 0)
    for follower in (first, second):
        chunk = follower.read_nowait()
        assert chunk is not None
        assert chunk.missed == 5

    assert (monitor.gaps, monitor.gap_bytes) == (2, 10)

"""What the log path costs, in empty method calls of the same machine at the same moment.

    python -m bench.logs_micro

Machines and their clock speeds differ, so the bars are ratios. Each figure is the best of several rounds;
takes some ten seconds.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from hostler.logs.files import LogFiles
from hostler.logs.hub import LogHub
from hostler.logs.monitor import Follower, LogMonitor
from hostler.logs.ring import RingBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CAPACITY = 102_400
ROUNDS = 9
RATIO_ROUNDS = 25
WAITING_ROUNDS = 9
SIZES = (14, 241, 4096)
LINE = b"x" * 240 + b"\n"


class Nothing:
    """What the ratios are relative to."""

    __slots__ = ()

    def method(self, data: bytes) -> None:
        """Do nothing."""


def ratio(call: Callable[[bytes], object], data: bytes, reference: Callable[[bytes], object]) -> float:
    """What `call(data)` costs in `reference(data)`, in processor time of this thread.

    In many short rounds, one measurement directly after the other; of each the best counts, as what disturbs
    the machine only slows.
    """
    costs = [(_thread_ns(call, data), _thread_ns(reference, data)) for _ in range(RATIO_ROUNDS)]
    return min(cost for cost, _ in costs) / min(other for _, other in costs)


def _thread_ns(call: Callable[[bytes], object], data: bytes, count: int = 2000) -> float:
    begin = time.thread_time_ns()
    for _ in range(count):
        call(data)
    return max(time.thread_time_ns() - begin, 1) / count


def assigner(size: int) -> Callable[[bytes], None]:
    """The plainest way to keep bytes: a slice of a bytearray is assigned to."""
    target = bytearray(CAPACITY)

    def assign(data: bytes) -> None:
        target[:size] = data

    return assign


@contextmanager
def subjects() -> Iterator[dict[str, Callable[[bytes], None]]]:
    """What can be written to: a ring, a monitor, and the log of a model as it is in the product."""
    with tempfile.TemporaryDirectory(prefix="hostler-logs-") as scratch:
        # Where the disk is slow what waits is refused, which costs as much as it takes to accept it.
        files = LogFiles(Path(scratch), max_bytes=16_777_216)
        on_disk = LogHub(files=files)
        try:
            yield {
                "ring": RingBuffer(CAPACITY).write,
                "monitor": LogMonitor("bench", epoch="e").write,
                "log": LogHub().model("bench").write,
                "log_on_disk": on_disk.model("bench").write,
            }
        finally:
            on_disk.close()
            files.close()


def measure(reference: str = "call") -> dict[str, float]:
    """Every write as a multiple of an empty call ("call") or of a slice assignment of that size ("slice")."""
    found: dict[str, float] = {}
    with subjects() as writes:
        for name, write in writes.items():
            for size in SIZES:
                other = Nothing().method if reference == "call" else assigner(size)
                found[f"{name}_{size}"] = ratio(write, b"x" * size, other)
    ring = RingBuffer(CAPACITY)
    ring.write(b"x" * CAPACITY)
    source = bytearray(CAPACITY)
    found["history_copies"] = ratio(lambda _: ring.history(), b"", lambda _: bytes(source))
    return found


def allocations(write: Callable[[bytes], None], size: int = 241, count: int = 4000) -> float:
    """Blocks of memory that each write leaves allocated; trimmed rings and journals leave none in the end."""
    data = b"x" * size
    for _ in range(20_000):
        write(data)
    before = sys.getallocatedblocks()
    for _ in range(count):
        write(data)
    return (sys.getallocatedblocks() - before) / count


def row(what: str, value: float, unit: str, bar: float | None, note: str = "") -> None:
    """One line of the table."""
    verdict = "" if bar is None else f"≤ {bar:<5g} {'ok' if value <= bar else 'MISSED'}"
    print(f"{what:<52}{value:>8.2f} {unit:<7}{verdict:<14}{note}")


def ratios(what: str, write: Callable[[bytes], None], bars: bool) -> None:
    """Writes of three sizes as multiples of an empty call measured in turn with each."""
    for size, bar in zip(SIZES, (4.0, 4.5, 14.0), strict=True):
        found = ratio(write, b"x" * size, Nothing().method)
        row(f"{what}, {size} B", found, "calls", bar if bars else None)


def history() -> None:
    """A full ring's history beside one plain copy of as many bytes."""
    ring = RingBuffer(CAPACITY)
    for _ in range(1000):
        ring.write(LINE)
    source = bytearray(CAPACITY)
    full = min(_thread_ns(lambda _: ring.history(), b"") for _ in range(ROUNDS))
    row("history of 100 KiB", full / 1000, "µs", 6.0)
    row("history of 100 KiB", ratio(lambda _: ring.history(), b"", lambda _: bytes(source)), "copies", 2.0)


async def settle() -> None:
    """Let every follower run until all wait again."""
    for _ in range(8):
        await asyncio.sleep(0)


async def drain(follower: Follower) -> int:
    """Read everything; returns how many bytes were delivered or missed."""
    return sum([len(chunk.data) + chunk.missed async for chunk in follower])


async def waiting_write(name: str, bar: float | None) -> None:
    """The writer's side of one write while five followers wait."""
    monitor = LogMonitor("bench", epoch="e")
    tasks = [asyncio.create_task(drain(monitor.follow())) for _ in range(5)]
    await settle()
    found = [await _cold_write(monitor) for _ in range(WAITING_ROUNDS)]
    cost, empty = sorted(found, key=lambda pair: pair[0] / pair[1])[len(found) // 2]
    row(f"write, five followers waiting ({name})", cost / empty, "calls", bar, f"{cost:.0f} / {empty:.0f} ns")
    monitor.close()
    await asyncio.gather(*tasks)


async def _cold_write(monitor: LogMonitor) -> tuple[float, float]:
    """What a write takes, and an empty call, each by itself among a scheduler's work."""
    nothing = Nothing()
    times: tuple[list[int], list[int], list[int]] = ([], [], [])
    for _ in range(1000):
        # Single calls with a scheduler's work between them run colder than a loop of the same call does, so
        # the empty call is measured here too.
        begin = time.perf_counter_ns()
        after_timer = time.perf_counter_ns()
        nothing.method(LINE)
        after_empty = time.perf_counter_ns()
        monitor.write(LINE)
        end = time.perf_counter_ns()
        for values, value in zip(
            times, (after_timer - begin, after_empty - after_timer, end - after_empty), strict=True
        ):
            values.append(value)
        await settle()
    # The clock ticks in tens of nanoseconds: the mean of what is not an outlier, not the median.
    timer, empty, cost = (statistics.mean(sorted(values)[: len(values) * 9 // 10]) for values in times)
    return cost - timer, max(empty - timer, 1.0)


async def readers(name: str, burst: int, bar: float | None) -> None:
    """CPU of the whole process for each write that five followers read, without the write itself."""
    writes = 20_000
    spent: list[float] = []
    for followers in (0, 5):
        best = float("inf")
        for _ in range(5):
            monitor = LogMonitor("bench", epoch="e")
            tasks = [asyncio.create_task(drain(monitor.follow())) for _ in range(followers)]
            await settle()
            begin = time.process_time_ns()
            for _ in range(writes // burst):
                for _ in range(burst):
                    monitor.write(LINE)
                await asyncio.sleep(0)
            monitor.close()
            totals = await asyncio.gather(*tasks)
            best = min(best, (time.process_time_ns() - begin) / writes)
            assert all(total == monitor.end for total in totals)
        spent.append(best)
    row(f"five followers, {burst} writes a step ({name})", (spent[1] - spent[0]) / 1000, "µs", bar)


async def loops(name: str, bars: bool) -> None:
    """What depends on the event loop."""
    await waiting_write(name, 10.0 if bars else None)
    for burst in (1, 4, 16):
        await readers(name, burst, 2.0 if bars else None)


def main() -> None:
    """Print the table."""
    gc.disable()
    ratios("ring write", RingBuffer(CAPACITY).write, bars=True)
    ratios("monitor write, nobody follows", LogMonitor("bench", epoch="e").write, bars=False)
    with subjects() as writes:
        ratios("log of a model, in memory", writes["log"], bars=False)
        ratios("log of a model, with files", writes["log_on_disk"], bars=False)
        for name in ("ring", "monitor", "log"):
            row(f"memory blocks kept per write, {name}", allocations(writes[name]), "", None)
    history()
    uvloop.run(loops("uvloop", bars=True))
    asyncio.run(loops("asyncio", bars=False))


if __name__ == "__main__":
    main()

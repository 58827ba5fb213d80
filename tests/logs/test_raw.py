"""What must hold: a raw follower gets every byte in order, from buffer or files, or a gap of that size."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hostler.logs.files import LogFiles
from hostler.logs.hub import LogHub
from hostler.logs.monitor import LogMonitor
from hostler.logs.raw import RawFollower

READERS: list[RawFollower] = []


class Reader:
    """A raw follower and what it got."""

    def __init__(self, hub: LogHub, monitor: LogMonitor, *, history: bool = True) -> None:
        self.follower = RawFollower(hub, monitor, history=history)
        READERS.append(self.follower)
        self.data = b""
        self.missed = 0

    async def until(self, count: int) -> bytes:
        async with asyncio.timeout(20):
            while len(self.data) + self.missed < count:
                chunk = await anext(self.follower)
                self.data += chunk.data
                self.missed += chunk.missed
        return self.data


def opened(directory: Path, **options: Any) -> LogHub:
    return LogHub(buffer_bytes=1000, files=LogFiles(directory, **options))


def close(hub: LogHub) -> None:
    while READERS:
        READERS.pop().close()
    hub.close()
    if hub.files is not None:
        hub.files.close()


def numbered(first: int, count: int) -> bytes:
    return b"".join(b"line %06d\n" % number for number in range(first, first + count))


async def test_a_follower_that_the_buffer_has_passed_goes_on_in_the_files(tmp_path: Path) -> None:
    hub = opened(tmp_path, segment_bytes=4000)
    log = hub.model("m")
    reader = Reader(hub, log)
    wrote = b""
    for number in range(60):
        piece = numbered(number * 50, number % 7 * 50 + 1)
        wrote += piece
        log.take(piece, "stdout")
        if number % 3 == 0:
            await reader.until(len(wrote) // 2)
    assert await reader.until(len(wrote)) == wrote
    assert reader.missed == log.gaps == 0
    log.take(b"live\n", "stdout")
    assert (await reader.until(len(wrote) + 5)).endswith(b"live\n")
    close(hub)


async def test_frames_larger_than_one_read_lose_nothing(tmp_path: Path) -> None:
    # The first read ends within what is on disk; what came meanwhile is not lost because it was not flushed.
    hub = opened(tmp_path)
    log = hub.model("m")
    reader = Reader(hub, log)
    wrote = 0
    for number in range(40):
        log.take(bytes([number]) * (65_536 if number % 7 else 262_144), "stdout")
        wrote = log.end
        await reader.until(wrote - 200_000)
    await reader.until(wrote)
    assert (len(reader.data), reader.missed) == (wrote, 0)
    close(hub)


async def test_all_engines_together_go_on_in_the_files(tmp_path: Path) -> None:
    hub = opened(tmp_path)
    everything, engines = Reader(hub, hub.combined), Reader(hub, hub.upstream)
    wrote, upstream = b"", b""
    for number in range(300):
        piece = numbered(number * 20, 20)
        hub.model("ab"[number % 2]).take(piece, "stdout")
        upstream += piece
        wrote += piece
        if number % 50 == 0:
            hub.proxy.info(str(number))
            wrote += b"[INFO] %d\n" % number
            await everything.until(len(wrote) // 3)
    assert await everything.until(len(wrote)) == wrote
    assert await engines.until(len(upstream)) == upstream
    close(hub)


async def test_without_files_a_gap_has_its_size() -> None:
    hub = LogHub(buffer_bytes=1000)
    log = hub.model("m")
    reader = Reader(hub, log)
    log.take(numbered(0, 100), "stdout")
    log.take(numbered(100, 100), "stdout")
    assert await reader.until(2400) == numbered(0, 200)[-1000:]
    assert reader.missed == log.gap_bytes == 1400
    close(hub)


async def test_after_a_restart_the_history_is_on_disk(tmp_path: Path) -> None:
    hub = opened(tmp_path)
    hub.model("m").take(numbered(0, 500), "stdout")
    close(hub)

    again = opened(tmp_path)
    log = again.model("m")
    reader = Reader(again, log)
    assert await reader.until(1000) == numbered(0, 500)[-1000:]
    log.take(numbered(500, 500), "stdout")
    assert await reader.until(7000) == numbered(0, 1000)[-7000:]
    assert reader.missed == 0
    close(again)


async def test_a_follower_before_the_first_byte_after_a_restart(tmp_path: Path) -> None:
    hub = opened(tmp_path)
    hub.model("m").take(numbered(0, 500), "stdout")
    close(hub)

    again = opened(tmp_path)
    log = again.model("m")
    log.take(b"new\n", "stdout")
    reader = Reader(again, log, history=False)
    log.take(numbered(0, 500), "stdout")
    assert await reader.until(6000) == numbered(0, 500)
    close(again)


async def test_what_a_rate_limit_left_out_is_said_in_the_bytes_themselves(tmp_path: Path) -> None:
    hub = opened(tmp_path)
    log = hub.model("m")
    reader = Reader(hub, log)
    log.take(b"before\n", "stdout")
    log.skip(400)
    log.take(numbered(0, 200), "stdout")
    wrote = b"before\n[hostler] gap: 400 bytes missed\n" + numbered(0, 200)
    assert await reader.until(len(wrote)) == wrote
    close(hub)

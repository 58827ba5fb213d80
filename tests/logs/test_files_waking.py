"""When the thread of the files is woken: once for many, soon enough, and with or without a loop."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hostler.logs import files as files_module
from hostler.logs.files import LogFiles
from hostler.logs.hub import LogHub
from hostler.logs.segments import Item, Segments
from hostler.logs.store import LogStore

GENEROUS = 20  # seconds, for what takes none; a bound on a broken test
NEVER = 3600.0


class Disk:
    """Tells what was written, and together with what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes: queue.Queue[tuple[str, int]] = queue.Queue()
        write = Segments.write

        def telling(at: Segments, source: str, items: Sequence[Item]) -> None:
            write(at, source, items)
            self.writes.put((source, len(items)))

        monkeypatch.setattr(Segments, "write", telling)

    def next(self) -> tuple[str, int]:
        """The next write, as the log and its number of entries."""
        return self.writes.get(timeout=GENEROUS)

    async def soon(self) -> tuple[str, int]:
        """The same, while the loop runs."""
        return await asyncio.to_thread(self.next)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LogStore]:
    files = LogFiles(tmp_path)
    made = LogStore(LogHub(files=files), files)
    yield made
    made.close()


def gather(monkeypatch: pytest.MonkeyPatch, *, engines: float, ours: float) -> None:
    monkeypatch.setattr(files_module, "GATHER_SECONDS", engines)
    monkeypatch.setattr(files_module, "PROXY_GATHER_SECONDS", ours)


async def test_what_comes_within_a_while_is_written_together(store: LogStore, disk: Disk) -> None:
    for _ in range(100):
        store.log("m").take(b"line\n", "stdout")
    assert await disk.soon() == ("m", 100)
    for _ in range(50):
        store.log("m").take(b"line\n", "stdout")
    assert await disk.soon() == ("m", 50)
    assert disk.writes.empty()


async def test_an_engine_does_not_wait_for_our_own_lines(
    store: LogStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather(monkeypatch, engines=0.01, ours=NEVER)
    store.hub.proxy.info("a request was served")
    store.log("m").take(b"line\n", "stdout")
    assert await disk.soon() == ("proxy", 1)
    assert await disk.soon() == ("m", 1)


async def test_our_own_lines_wait_longer(
    store: LogStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather(monkeypatch, engines=NEVER, ours=0.01)
    store.hub.proxy.info("a request was served")
    store.hub.proxy.info("and another")
    assert await disk.soon() == ("proxy", 2)


async def test_many_bytes_do_not_wait(store: LogStore, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    gather(monkeypatch, engines=NEVER, ours=NEVER)
    for _ in range(5):
        store.log("m").take(b"x" * 262_144, "stdout")
    source, count = await disk.soon()
    assert (source, count >= 4) == ("m", True)


async def test_who_asks_for_it_waits_for_nothing_else(
    store: LogStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather(monkeypatch, engines=NEVER, ours=NEVER)
    store.log("m").take(b"line\n", "stdout")
    assert store.files is not None
    assert await store.files.flushed()
    assert disk.next() == ("m", 1)


def test_without_a_loop_it_is_written_as_well(store: LogStore, disk: Disk) -> None:
    for _ in range(2):
        for _ in range(10):
            store.log("m").take(b"line\n", "stdout")
        found = 0
        while found < 10:
            found += disk.next()[1]
        assert found == 10


def test_without_a_loop_many_bytes_do_not_wait(
    store: LogStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather(monkeypatch, engines=NEVER, ours=NEVER)
    for _ in range(5):
        store.log("m").take(b"x" * 262_144, "stdout")
    assert disk.next()[0] == "m"


def test_a_loop_that_ended_is_not_waited_for(store: LogStore, disk: Disk) -> None:
    async def take() -> None:
        store.log("m").take(b"line\n", "stdout")

    for _ in range(3):  # each of these loops ends before it would have told the thread
        asyncio.run(take())
    store.log("m").take(b"line\n", "stdout")
    assert disk.next() == ("m", 4)


async def test_the_end_writes_what_waits(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    gather(monkeypatch, engines=NEVER, ours=NEVER)
    files = LogFiles(tmp_path)
    store = LogStore(LogHub(files=files), files)
    store.log("m").take(b"line\n", "stdout")
    store.close()
    assert disk.next() == ("m", 1)
    assert not await files.flushed(), "nobody writes any more"

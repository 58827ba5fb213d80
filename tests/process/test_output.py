"""Pipes: bytes in order, ends that are seen, and nobody who can hold us up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from hostler.process.output import READ_TINY, Output


class Sink:
    """Collects bytes and wakes who waits for them."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.sizes: list[int] = []
        self._news = asyncio.Event()

    def __call__(self, data: bytes) -> None:
        self.data += data
        self.sizes.append(len(data))
        self._news.set()

    async def holds(self, size: int) -> None:
        async with asyncio.timeout(10):
            while len(self.data) < size:
                self._news.clear()
                await self._news.wait()


def opened(sink: Sink) -> Output:
    """Both pipes into one sink, being read."""
    output = Output(sink, sink)
    output.listen()
    return output


@pytest.fixture
def copies() -> Iterator[list[int]]:
    """Descriptors that somebody else holds."""
    held: list[int] = []
    yield held
    for descriptor in held:
        os.close(descriptor)


async def test_both_streams_arrive() -> None:
    sink = Sink()
    output = opened(sink)
    os.write(output.stdout, b"out\n")
    await sink.holds(4)
    os.write(output.stderr, b"err\n")
    await sink.holds(8)

    output.close()

    assert bytes(sink.data) == b"out\nerr\n"
    assert output.ended.done()


async def test_stdout_comes_before_the_stderr_that_follows_it() -> None:
    sink = Sink()
    output = opened(sink)
    os.write(output.stdout, b"working\n")
    os.write(output.stderr, b"failed\n")

    await sink.holds(15)

    assert bytes(sink.data) == b"working\nfailed\n"
    output.close()


async def test_the_end_is_an_event_of_its_own() -> None:
    output = opened(Sink())
    assert repr(output) == "<Output 2 open>"

    output.handed_over()

    async with asyncio.timeout(5):
        await output.ended
    assert repr(output) == "<Output 0 open>"
    output.close()
    output.process_ended()


async def test_the_end_of_the_process_takes_what_is_there_and_does_not_wait(copies: list[int]) -> None:
    sink = Sink()
    output = opened(sink)
    copies.append(os.dup(output.stdout))
    os.write(output.stdout, b"x" * 60_000)
    output.handed_over()

    output.process_ended(hold=60)

    assert len(sink.data) == 60_000
    assert not output.ended.done()
    os.write(copies[0], b"later")
    await sink.holds(60_005)
    output.close()
    assert output.ended.done()


async def test_a_pipe_that_stays_open_is_let_go_in_the_end(copies: list[int]) -> None:
    output = opened(Sink())
    copies.append(os.dup(output.stderr))
    output.handed_over()

    output.process_ended(hold=0.05)

    async with asyncio.timeout(5):
        await output.ended
    with pytest.raises(BrokenPipeError):
        os.write(copies[0], b"x")


async def test_tiny_writes_are_read_in_company() -> None:
    """A flood of short lines costs a wake-up per millisecond, not one per line."""
    sink = Sink()
    output = opened(sink)
    line, lines = b"a short line\n", 5_000

    def write_some(left: int) -> None:
        os.write(output.stdout, line)
        if left > 1:
            asyncio.get_running_loop().call_soon(write_some, left - 1)

    write_some(lines)
    await sink.holds(len(line) * lines)

    assert bytes(sink.data) == line * lines
    assert len(sink.sizes) < lines / 4
    assert sink.sizes[0] < READ_TINY
    output.close()


async def test_a_flood_leaves_the_loop_its_turns() -> None:
    """Megabytes arrive complete while a timer of a few milliseconds stays about on time."""
    sink = Sink()
    output = opened(sink)
    size = 64 << 20
    loop = asyncio.get_running_loop()
    late: list[float] = []

    def tick(due: float) -> None:
        late.append(loop.time() - due)
        loop.call_later(0.005, tick, loop.time() + 0.005)

    writer = os.dup(output.stdout)
    output.handed_over()
    tick(loop.time())
    flood = loop.run_in_executor(None, flooding, writer, size)
    await asyncio.wait_for(output.ended, 30)
    await flood

    assert len(sink.data) == size
    assert sorted(late)[len(late) // 2] < 0.1


def flooding(descriptor: int, size: int) -> None:
    block = b"0123456789abcdef" * 4096
    for _ in range(size // len(block)):
        os.write(descriptor, block)
    os.close(descriptor)


async def test_opening_leaves_nothing_open_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = os.pipe

    def scarce() -> tuple[int, int]:
        if opened:
            raise OSError(24, "Too many open files")
        opened.extend(real())
        return opened[0], opened[1]

    monkeypatch.setattr(os, "pipe", scarce)
    with pytest.raises(OSError, match="Too many"):
        Output(Sink(), Sink())

    for descriptor in opened:
        with pytest.raises(OSError):
            os.fstat(descriptor)

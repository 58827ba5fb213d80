"""Our own stdout as a follower that can get stuck or lost without anybody noticing."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from hostler import aio
from hostler.logs import stdout
from hostler.logs.hub import LogHub
from hostler.logs.monitor import LogMonitor
from hostler.logs.stdout import StdoutCopy, monitor_for
from hostler.logs.text import strip_gaps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import ReadableBuffer

GENEROUS = 30  # seconds, for what takes none; a bound on a broken test


class Terminal(io.RawIOBase):
    """A terminal that somebody stopped: writes hang until `gate` is set."""

    def __init__(self, largest: int = 1 << 30) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.shown = bytearray()
        self.writes = 0
        self._largest = largest

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        self.entered.set()
        self.gate.wait()
        piece = bytes(data)[: self._largest]
        self.shown += piece
        self.writes += 1
        return len(piece)

    async def until_shown(self, size: int) -> None:
        async with asyncio.timeout(GENEROUS):
            while len(self.shown) < size:
                await asyncio.sleep(0)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.gate.set()


def as_stream(raw: io.RawIOBase) -> BinaryIO:
    return cast("BinaryIO", raw)


async def until_ended(copy: StdoutCopy) -> None:
    while "ended" not in repr(copy) or aio.alive():
        await asyncio.sleep(0)


def no_threads_left() -> bool:
    for thread in threading.enumerate():
        if thread.name.startswith("stdout-"):
            thread.join(GENEROUS)
    return not any(thread.name.startswith("stdout-") for thread in threading.enumerate())


def test_what_is_copied_is_a_setting() -> None:
    hub = LogHub()
    assert monitor_for(hub, "proxy") is hub.proxy
    assert monitor_for(hub, "upstream") is hub.upstream
    assert monitor_for(hub, "both") is hub.combined
    assert monitor_for(hub, "none") is None


@pytest.mark.parametrize(("history", "expected"), [(True, b"old\nnew\nlast"), (False, b"new\nlast")])
async def test_copies_everything_until_stopped(history: bool, expected: bytes) -> None:
    monitor = LogMonitor("m", epoch="e")
    monitor.write(b"old\n")
    stream = io.BytesIO()
    copy = StdoutCopy(monitor, stream, history=history)
    monitor.write(b"new\n")
    copy.start()
    await asyncio.sleep(0)
    monitor.write(b"last")
    await copy.stop(GENEROUS)
    await copy.stop(GENEROUS)
    monitor.write(b"too late")
    assert stream.getvalue() == expected
    assert no_threads_left()
    assert (aio.alive(), monitor.waiting) == (0, 0)


async def test_it_ends_with_the_monitor() -> None:
    monitor = LogMonitor("m", epoch="e")
    stream = io.BytesIO()
    copy = StdoutCopy(monitor, stream)
    copy.start()
    monitor.write(b"all of it")
    monitor.close()
    await until_ended(copy)
    assert stream.getvalue() == b"all of it"


async def test_a_stuck_terminal_stalls_nothing_and_shows_the_gap(terminal: Terminal) -> None:
    monitor = LogMonitor("m", epoch="e", capacity=1000)
    copy = StdoutCopy(monitor, as_stream(terminal))
    copy.start()
    monitor.write(b"cut")
    await asyncio.to_thread(terminal.entered.wait, GENEROUS)
    written = b"cut"
    for number in range(500):
        line = b"line %d\n" % number
        monitor.write(line)
        written += line
        await asyncio.sleep(0)
    terminal.gate.set()
    await copy.stop(GENEROUS)
    delivered, missed = strip_gaps(bytes(terminal.shown))
    assert terminal.shown.startswith(b"cut\n[hostler] gap: ")
    assert delivered == b"cut" + written[-1000:]
    assert len(delivered) + missed == len(written)


async def test_stopping_does_not_wait_for_a_stuck_terminal(terminal: Terminal) -> None:
    monitor = LogMonitor("m", epoch="e")
    copy = StdoutCopy(monitor, as_stream(terminal))
    copy.start()
    monitor.write(b"x")
    await asyncio.to_thread(terminal.entered.wait, GENEROUS)
    monitor.write(b"y")
    await copy.stop(0)
    assert (aio.alive(), monitor.waiting) == (0, 0)
    terminal.gate.set()
    assert no_threads_left()


async def test_a_busy_log_is_handed_over_seldom(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    monkeypatch.setattr(stdout, "REST_SECONDS", 3600)
    monitor = LogMonitor("m", epoch="e", capacity=1000)
    copy = StdoutCopy(monitor, as_stream(terminal))
    terminal.gate.set()
    copy.start()
    for number in range(49):
        monitor.write(b"line %03d \n" % number)
        await terminal.until_shown(10)
        await asyncio.sleep(0)
    assert len(terminal.shown) == 10, "the first is there at once, the others gather"
    monitor.write(b"." * 20)
    await terminal.until_shown(510)
    monitor.write(b"the end")
    await copy.stop(GENEROUS)
    assert terminal.shown.endswith(b"048 \n....................the end")
    assert terminal.writes == 3


async def test_all_that_a_usual_buffer_holds_is_one_piece(terminal: Terminal) -> None:
    monitor = LogMonitor("m", epoch="e")
    monitor.write(b"." * monitor.capacity)
    copy = StdoutCopy(monitor, as_stream(terminal))
    terminal.gate.set()
    copy.start()
    await copy.stop(GENEROUS)
    assert (len(terminal.shown), terminal.writes) == (monitor.capacity, 1)


async def test_the_thread_does_not_wake_the_loop_for_each_piece(
    monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    monkeypatch.setattr(stdout, "REST_SECONDS", 0.05)
    told = 0
    call_soon = asyncio.get_running_loop().call_soon_threadsafe

    def call(callback: Callable[[], None]) -> None:
        nonlocal told
        told += 1
        call_soon(callback)

    monitor = LogMonitor("m", epoch="e")
    copy = StdoutCopy(monitor, as_stream(terminal))
    terminal.gate.set()
    copy.start()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_soon_threadsafe", call, raising=False)
    for number in range(1, 6):
        monitor.write(b"line\n")
        await terminal.until_shown(5 * number)
    assert told < 5, "only where it was slow"
    await copy.stop(GENEROUS)


async def test_short_writes_are_completed() -> None:
    terminal = Terminal(largest=3)
    terminal.gate.set()
    monitor = LogMonitor("m", epoch="e")
    monitor.write(b"0123456789")
    copy = StdoutCopy(monitor, as_stream(terminal))
    copy.start()
    await copy.stop(GENEROUS)
    assert terminal.shown == b"0123456789"


async def test_a_closed_pipe_ends_it_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    monitor = LogMonitor("m", epoch="e")
    with open(writing, "wb") as stream:  # noqa: PTH123 - a file descriptor has no path
        copy = StdoutCopy(monitor, stream)
        copy.start()
        os.close(reading)
        monitor.write(b"x")
        await until_ended(copy)
        monitor.write(b"y")
        await copy.stop(GENEROUS)
    assert no_threads_left()
    assert (monitor.waiting, aio.alive()) == (0, 0)
    assert capsys.readouterr().err == ""


async def test_a_stream_closed_by_ourselves_ends_it_quietly() -> None:
    stream = io.BytesIO()
    stream.close()
    copy = StdoutCopy(LogMonitor("m", epoch="e"), stream)
    copy.start()
    await until_ended(copy)
    assert no_threads_left()


async def test_a_non_blocking_pipe_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    monitor = LogMonitor("m", epoch="e", capacity=1_000_000)
    data = os.urandom(400_000)  # several times what a pipe holds
    monitor.write(data)
    with open(writing, "wb") as stream:  # noqa: PTH123 - a file descriptor has no path
        copy = StdoutCopy(monitor, stream)
        copy.start()
        with open(reading, "rb") as source:  # noqa: PTH123 - a file descriptor has no path
            received = await asyncio.to_thread(source.read, len(data))
        await copy.stop(GENEROUS)
    assert received == data


async def test_starting_twice_is_refused() -> None:
    copy = StdoutCopy(LogMonitor("m", epoch="e"), io.BytesIO())
    assert repr(copy) == "<StdoutCopy of m, not started>"
    copy.start()
    with pytest.raises(RuntimeError, match="started before"):
        copy.start()
    assert repr(copy) == "<StdoutCopy of m, copying>"
    await copy.stop(GENEROUS)
    assert repr(copy) == "<StdoutCopy of m, ended>"


async def test_stopping_what_was_never_started() -> None:
    copy = StdoutCopy(LogMonitor("m", epoch="e"), io.BytesIO())
    await copy.stop(GENEROUS)


STUCK = """
import asyncio, sys
from hostler.logs.monitor import LogMonitor
from hostler.logs.stdout import StdoutCopy

async def main():
    monitor = LogMonitor("m", epoch="e", capacity=1_000_000)
    monitor.write(b"x" * 900_000)
    copy = StdoutCopy(monitor, sys.stdout.buffer)
    copy.start()
    await copy.stop(0.2)

asyncio.run(main())
"""


@pytest.mark.wire
def test_a_program_whose_stdout_is_stuck_can_still_end() -> None:
    """Nobody reads the pipe; a thread stuck inside the buffer of sys.stdout would abort the interpreter."""
    reading, writing = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", STUCK],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=GENEROUS,
            check=False,
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")

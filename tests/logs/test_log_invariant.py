"""For every follower: delivered + missed = written from its start on, in order, each byte once.

Random histories of writes, clears, runs, reads that wait, cancellations and single steps of the event loop
against a model that keeps every byte ever written.
"""

from __future__ import annotations

import asyncio
from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from hostler.logs.monitor import Chunk, Cursor, Follower, LogMonitor

KEEP_RUNS = 2


class Reader:
    """A follower, where it started, and what it got."""

    def __init__(self, follower: Follower, start: int) -> None:
        self.follower = follower
        self.position = start
        self.task: asyncio.Task[Chunk] | None = None

    def take(self, chunk: Chunk, written: bytes) -> None:
        """Check one chunk against everything that was written."""
        assert chunk.data or chunk.missed
        begin = self.position + chunk.missed
        assert chunk.data == written[begin : begin + len(chunk.data)]
        self.position = begin + len(chunk.data)
        assert chunk.cursor == Cursor("e", self.position)
        assert self.position <= len(written)


class LogMachine(RuleBasedStateMachine):
    readers = Bundle("readers")

    @initialize(capacity=st.integers(1, 40))
    def begin(self, capacity: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.capacity = capacity
        self.monitor = LogMonitor("m", epoch="e", capacity=capacity, keep_runs=KEEP_RUNS)
        self.written = b""
        self.cleared = 0
        self.all: list[Reader] = []
        self.run_number = 0
        self.run_start: int | None = None
        self.sealed: deque[tuple[int, bytes]] = deque(maxlen=KEEP_RUNS)

    def step(self, count: int = 1) -> None:
        async def steps() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(steps())
        for reader in self.all:
            self.collect(reader)

    def collect(self, reader: Reader) -> None:
        """What a finished read brought."""
        if reader.task is None or not reader.task.done():
            return
        task, reader.task = reader.task, None
        if not task.cancelled() and not isinstance(task.exception(), EOFError):
            reader.take(task.result(), self.written)

    @rule(data=st.binary(max_size=100), shape=st.sampled_from([bytes, bytearray, memoryview]))
    def write(self, data: bytes, shape: type[bytes | bytearray | memoryview]) -> None:
        self.monitor.write(shape(data))
        self.written += data

    @rule(count=st.integers(1, 6))
    def let_the_loop_run(self, count: int) -> None:
        self.step(count)

    @rule(target=readers, history=st.booleans(), limit=st.integers(1, 50))
    def follow(self, history: bool, limit: int) -> Reader:
        follower = self.monitor.follow(history=history, limit=limit)
        return self.add(Reader(follower, self.monitor.start if history else self.monitor.end))

    @rule(target=readers, epoch=st.sampled_from(["e", "old"]), position=st.integers(0, 500))
    def resume(self, epoch: str, position: int) -> Reader:
        known = epoch == "e" and position <= len(self.written)
        follower = self.monitor.follow(Cursor(epoch, position))
        return self.add(Reader(follower, position if known else 0))

    @rule(target=readers, reader=readers)
    def reconnect(self, reader: Reader) -> Reader:
        """A client that lost its connection comes back with the cursor it has."""
        cursor = Cursor.parse(str(Cursor("e", reader.position)))
        return self.add(Reader(self.monitor.follow(cursor), reader.position))

    def add(self, reader: Reader) -> Reader:
        self.all.append(reader)
        return reader

    @rule(reader=readers)
    def read_nowait(self, reader: Reader) -> None:
        if reader.task is None:
            chunk = reader.follower.read_nowait()
            if chunk is not None:
                reader.take(chunk, self.written)

    @rule(reader=readers)
    def begin_read(self, reader: Reader) -> None:
        if reader.task is None:
            reader.task = self.loop.create_task(reader.follower.read())

    @rule(reader=readers)
    def cancel_read(self, reader: Reader) -> None:
        if reader.task is not None:
            reader.task.cancel()

    @rule(target=readers, reader=readers)
    def close(self, reader: Reader) -> object:
        reader.follower.close()
        return multiple()

    @rule()
    def clear(self) -> None:
        self.monitor.clear()
        self.cleared = len(self.written)

    @rule()
    def begin_run(self) -> None:
        self.seal()
        self.run_number += 1
        self.run_start = len(self.written)
        self.monitor.begin_run(self.run_number)

    @rule()
    def end_run(self) -> None:
        self.monitor.end_run(self.run_number)
        self.seal()

    def seal(self) -> None:
        if self.run_start is not None:
            self.sealed.append((self.run_number, self.run_bytes(self.run_start)))
            self.run_start = None

    def run_bytes(self, start: int) -> bytes:
        return self.written[max(start, self.cleared) :][-self.capacity :]

    @invariant()
    def positions_and_history_are_the_models(self) -> None:
        assert self.monitor.end == len(self.written)
        assert self.monitor.history() == self.written[self.cleared :][-self.capacity :]

    @invariant()
    def runs_are_the_models(self) -> None:
        expected = dict(self.sealed)
        if self.run_start is not None:
            expected[self.run_number] = self.run_bytes(self.run_start)
        assert {log.number: self.monitor.run_history(log.number) for log in self.monitor.runs()} == expected
        assert all(log.held == len(expected[log.number]) for log in self.monitor.runs())

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        self.step(12)  # everything that was written has reached whoever waits: nobody is stranded
        for reader in self.all:
            if reader.task is not None:
                assert reader.position == len(self.written)
        self.monitor.close()
        self.step(2)
        assert self.monitor.waiting == 0
        for reader in self.all:
            assert reader.task is None
            while (chunk := reader.follower.read_nowait()) is not None:
                reader.take(chunk, self.written)
            closed = "closed" in repr(reader.follower)
            assert closed or reader.position == len(self.written)
        self.loop.close()


LogMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLogInvariant = LogMachine.TestCase

"""For every reader of the store: delivered + missed = written from its start on, in order, each byte once.

Random histories of everything that can happen to it: writes of any size, buffers from one byte up, raw
followers and readers of records with and without filters, resumes by cursor, cleared and released memory,
segments that rotate, run out of room or lose their end, and restarts, clean and not, against a model that
keeps every byte.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from hostler.logs.files import LogFiles
from hostler.logs.hub import LogHub
from hostler.logs.journal import EXIT, START
from hostler.logs.query import Query, parse
from hostler.logs.raw import RawFollower
from hostler.logs.records import LINE, Record
from hostler.logs.store import LogStore

LOGS = ("a", "b")
PIECES = st.one_of(
    st.sampled_from([b"x", b"\n", b"one\n", b"two\nthree", b"\n\n", b"end\nz" * 9, b"q" * 400 + b"\n"]),
    st.binary(min_size=1, max_size=300),
)
EXAMPLES = int(os.environ.get("HOSTLER_LOG_EXAMPLES", "60"))


@dataclass
class Raw:
    """A raw follower of one log, where it began and what it got."""

    name: str
    follower: RawFollower
    position: int

    def take(self, data: bytes, missed: int, written: bytes) -> None:
        begin = self.position + missed
        assert data == written[begin : begin + len(data)]
        self.position = begin + len(data)


@dataclass
class Lines:
    """A reader of records of one log or both, which comes back with the cursor it has."""

    names: tuple[str, ...]
    query: Query
    cursor: str
    begin: int
    counted: int = 0
    unknown: bool = False
    orders: list[tuple[int, int]] = field(default_factory=list)

    def take(self, records: list[Record], cursor: str) -> None:
        for record in records:
            if record.kind == LINE:
                self.counted += len(record.raw) + (not record.partial and not record.cut)
            elif record.kind == "gap":
                self.unknown = self.unknown or record.missed is None
                self.counted += record.missed or 0
            self.orders.append(record.place.order)
        assert self.orders == sorted(self.orders)
        if records:
            self.cursor = cursor


class StoreMachine(RuleBasedStateMachine):
    @initialize(
        buffer=st.sampled_from([1, 7, 100, 5_000]),
        files=st.booleans(),
        bound=st.sampled_from([0, 4_000]),
        segment=st.sampled_from([150, 1_000]),
    )
    def begin(self, buffer: int, files: bool, bound: int, segment: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.scratch = Path(tempfile.mkdtemp(prefix="hostler-machine-"))
        self.segment = segment
        self.buffer, self.with_files, self.bound = buffer, files, bound
        self.written = dict.fromkeys(LOGS, b"")
        self.raws: list[Raw] = []
        self.lines: list[Lines] = []
        self.run_number = 0
        self.open()

    def open(self) -> None:
        files = (
            LogFiles(self.scratch, max_bytes=self.bound, segment_bytes=self.segment)
            if self.with_files
            else None
        )
        self.store = LogStore(LogHub(buffer_bytes=self.buffer, files=files), files)
        for name in LOGS:
            self.store.log(name)

    @rule(name=st.sampled_from(LOGS), stream=st.sampled_from(["stdout", "stderr"]), data=PIECES)
    def write(self, name: str, stream: str, data: bytes) -> None:
        self.store.log(name).take(data, stream)
        self.written[name] += data

    @rule(name=st.sampled_from(LOGS))
    def a_run_ends_and_another_begins(self, name: str) -> None:
        log = self.store.log(name)
        log.event(EXIT, {"exit": "exit code 0"})
        self.run_number += 1
        log.begin_run(max(self.run_number, log.run + 1))
        log.event(START, {"reason": "request"})

    @rule(name=st.sampled_from(LOGS))
    def clear(self, name: str) -> None:
        self.store.log(name).clear()

    @precondition(lambda self: self.with_files)
    @rule(name=st.sampled_from(LOGS))
    def release(self, name: str) -> None:
        assert self.store.files is not None
        assert self.loop.run_until_complete(self.store.files.flushed())
        self.store.log(name).release()

    @rule(name=st.sampled_from(LOGS))
    def follow_raw(self, name: str) -> None:
        log = self.store.log(name)
        follower = RawFollower(self.store.hub, log, history=False)
        self.raws.append(Raw(name, follower, log.end))

    @rule(count=st.integers(1, 4))
    def read_raw(self, count: int) -> None:
        for raw in self.raws:
            self.loop.run_until_complete(self.some_raw(raw, count))

    async def some_raw(self, raw: Raw, count: int) -> None:
        for _ in range(count):
            if raw.position == len(self.written[raw.name]):
                return
            chunk = await asyncio.wait_for(anext(raw.follower), 20)
            raw.take(chunk.data, chunk.missed, self.written[raw.name])

    @rule(
        names=st.sampled_from([("a",), ("b",), LOGS]),
        params=st.sampled_from([{}, {"stream": "stderr"}, {"grep": "o"}]),
    )
    def read_lines(self, names: tuple[str, ...], params: dict[str, str]) -> None:
        reader = self.loop.run_until_complete(self.at_the_end(names, parse(params, [], 0.0)))
        self.lines.append(reader)

    async def at_the_end(self, names: tuple[str, ...], query: Query) -> Lines:
        """A reader that begins where everything ends now; it has read all there is."""
        start = f"{self.store.epoch}:0.0" + (".0" if len(names) == 1 else f"s0.{0}")
        reader = Lines(names, query, start, 0)
        await self.some_lines(reader, None)
        if not query.limits and reader.counted and not reader.unknown and len(names) == 1:
            assert reader.counted == len(self.written[names[0]])
        reader.begin = sum(len(self.written[name]) for name in names)
        reader.counted = 0
        return reader

    @rule(count=st.one_of(st.none(), st.integers(1, 5)))
    def go_on_with_lines(self, count: int | None) -> None:
        for reader in self.lines:
            self.loop.run_until_complete(self.some_lines(reader, count))

    async def some_lines(self, reader: Lines, count: int | None) -> None:

        query = replace(reader.query, head=count)
        records = await self.store.read(*reader.names, after=reader.cursor, query=query)
        reader.take(records, self.store.cursor_of(records[-1]) if records else "")

    @precondition(lambda self: self.with_files)
    @rule()
    def restart(self) -> None:
        self.end_raws()
        self.store.close()
        self.open()
        for name in LOGS:
            assert self.store.log(name).end == len(self.written[name])

    @precondition(lambda self: self.with_files)
    @rule(cut=st.integers(1, 60), name=st.sampled_from(LOGS))
    def a_crash_tears_the_end(self, cut: int, name: str) -> None:
        self.end_raws()
        assert self.store.files is not None
        meta = self.scratch / "meta.json"
        before = meta.read_bytes()
        self.store.close()
        meta.write_bytes(before)
        segments = [s for s in self.store.files.archive.segments(name) if s.path.stat().st_size]
        if segments:
            whole = segments[-1].path.stat().st_size
            os.truncate(segments[-1].path, max(0, whole - cut))
        self.open()
        # What was torn was written by nobody, as far as anybody can tell; readers begin anew.
        self.written = {
            log: self.written[log][: self.store.log(log).end].ljust(self.store.log(log).end, b"?")
            for log in LOGS
        }
        self.lines = []

    def end_raws(self) -> None:
        for raw in self.raws:
            raw.follower.close()
        self.raws = []

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            for raw in self.raws:
                self.loop.run_until_complete(self.some_raw(raw, 10_000))
                assert raw.position == len(self.written[raw.name])
            for reader in self.lines:
                self.loop.run_until_complete(self.some_lines(reader, None))
                total = sum(len(self.written[name]) for name in reader.names)
                if not reader.query.limits and not reader.unknown:
                    assert reader.counted == total - reader.begin
            if self.bound and self.with_files:
                size = sum(path.stat().st_size for path in self.scratch.glob("*/*.log"))
                assert size <= self.bound
        finally:
            self.end_raws()
            self.store.close()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.scratch)


StoreMachine.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=25, deadline=None)
TestStoreInvariant = StoreMachine.TestCase

"""What must hold: delivered bytes plus counted gap bytes are the bytes written, in order, each once.

Whatever the sizes of writes and buffers are, wherever a reader stops and resumes, over restarts and torn
files.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.clock import ManualClock
from hostler.errors import ClientError, Gone, NotFound
from hostler.logs.files import LogFiles
from hostler.logs.hub import LogHub
from hostler.logs.journal import EXIT, START
from hostler.logs.query import Query, parse
from hostler.logs.rate import RateLimit
from hostler.logs.records import LINE, Record
from hostler.logs.store import LogStore


def counted(records: list[Record]) -> int:
    """The bytes that records account for."""
    size = sum(len(r.raw) + (not r.partial and not r.cut) for r in records if r.kind == LINE)
    return size + sum(r.missed or 0 for r in records if r.kind == "gap")


def lines(records: list[Record]) -> list[str]:
    return [record.text for record in records if record.kind == LINE]


@pytest.fixture
def store() -> Iterator[LogStore]:
    made = LogStore(LogHub(buffer_bytes=1000))
    yield made
    made.close()


# -- the invariant -------------------------------------------------------------------------------------------

WRITES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["stdout", "stderr"]),
        st.sampled_from([b"x", b"\n", b"one\n", b"two\nthree", b"y" * 70, b"\n\n", b"end\nz" * 9]),
    ),
    max_size=25,
)
STEPS = st.lists(st.one_of(WRITES, st.integers(1, 6), st.just("restart")), min_size=1, max_size=8)


@dataclass
class Play:
    """A store in a directory or in memory, written to and read from in turns."""

    directory: Path | None
    buffer: int
    names: tuple[str, ...]
    got: list[Record] = field(default_factory=list)
    wrote: dict[str, bytes] = field(default_factory=dict)
    cursor: str | None = None
    store: LogStore = field(init=False)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        files = LogFiles(self.directory, segment_bytes=300) if self.directory is not None else None
        self.store = LogStore(LogHub(buffer_bytes=self.buffer, files=files), files)
        for name in ("a", "b"):
            self.store.log(name)

    def write(self, name: str, stream: str, data: bytes) -> None:
        self.store.log(name).take(data, stream)
        if name in self.names:
            self.wrote[name] = self.wrote.get(name, b"") + data

    async def read(self, count: int | None = None) -> None:
        query = Query(head=count) if count is not None else Query()
        records = await self.store.read(*self.names, after=self.cursor or self.beginning, query=query)
        self.got += records
        if records:
            self.cursor = self.store.cursor_of(records[-1])

    @property
    def beginning(self) -> str:
        return f"{self.store.epoch}:0.0" + (".0" if len(self.names) == 1 else "")

    def restart(self) -> None:
        self.store.close()
        self.open()


@given(STEPS, st.sampled_from([1, 7, 100, 100_000]), st.booleans(), st.sampled_from([("a",), ("a", "b")]))
@settings(max_examples=150, deadline=None)
def test_every_byte_is_delivered_or_counted(
    steps: list[Any], buffer: int, files: bool, names: tuple[str, ...]
) -> None:
    async def play(directory: Path | None) -> Play:
        made = Play(directory, buffer, names)
        try:
            for step in steps:
                if isinstance(step, int):
                    await made.read(step)
                elif step == "restart":
                    if files:
                        made.restart()
                else:
                    for write in step:
                        made.write(*write)
            await made.read()
        finally:
            made.store.close()
        return made

    with tempfile.TemporaryDirectory() as scratch:
        made = asyncio.run(play(Path(scratch) if files else None))
    total = sum(len(data) for data in made.wrote.values())
    assert counted(made.got) == total
    if files:
        assert not [record for record in made.got if record.kind == "gap"], "the files have all of it"
    places = [record.place.order for record in made.got]
    assert places == sorted(places)


def test_streams_are_cut_apart_and_put_together(store: LogStore) -> None:
    log = store.log("m")
    log.take(b"out 1\nhalf ", "stdout")
    log.take(b"err 1\n", "stderr")
    log.take(b"of it\n", "stdout")

    records = asyncio.run(store.read("m"))

    assert [(r.stream, r.text) for r in records] == [
        ("stdout", "out 1"),
        ("stderr", "err 1"),
        ("stdout", "half of it"),
    ]


def test_all_logs_have_one_order(store: LogStore) -> None:
    for number in range(6):
        store.log("ab"[number % 2]).take(b"%d\n" % number, "stdout")
        store.hub.proxy.info(str(number))

    records = asyncio.run(store.read())

    assert [record.text.removeprefix("[INFO] ") for record in records] == list("001122334455")
    assert [record.model for record in records[:4]] == ["a", "proxy", "b", "proxy"]


def test_progress_long_lines_and_what_is_not_text(store: LogStore) -> None:
    big = LogStore(LogHub())
    big.log("m").take(b" 10%\r 50%\r100%\n" + b"x" * 40_000 + b"\n\xff\xfe\n", "stdout")
    records = asyncio.run(big.read("m"))
    big.close()

    assert records[0].text == "100%"
    assert [(len(r.raw), r.cut) for r in records[1:4]] == [(16_384, True), (16_384, True), (7_232, False)]
    assert records[4].text == "\ufffd\ufffd"


async def test_a_line_without_end_is_handed_out_and_goes_on(store: LogStore) -> None:
    log = store.log("m")
    records = store.follow("m")
    log.take(b"Continue? ", "stdout")
    async with asyncio.timeout(10):
        first = await anext(records)
        log.take(b"yes\n", "stdout")
        second = await anext(records)
    await records.aclose()  # type: ignore[attr-defined]  # it is a generator

    assert (first.text, first.partial) == ("Continue? ", True)
    assert (second.text, second.partial) == ("yes", False)
    resumed = await store.read("m", after=store.cursor_of(first))
    assert lines(resumed) == ["yes"], "what was given of the line is not given again"


async def test_runs_have_a_start_and_an_exit(store: LogStore) -> None:
    log = store.log("m")
    for number in (1, 2, 3):
        log.begin_run(number)
        log.event(START, {"reason": "request", "command": "engine", "pid": 7})
        log.take(b"run %d\n" % number, "stderr")
        log.event(EXIT, {"exit": "exit code 0"})
        log.end_run(number)

    assert [r.kind for r in await store.read("m")] == ["start", "line", "exit"] * 3
    assert lines(await store.read("m", query=Query(run=2))) == ["run 2"]
    assert lines(await store.read("m", query=Query(run=-1))) == ["run 2"]
    with pytest.raises(NotFound):
        await store.read("m", query=Query(run=-9))
    runs = store.runs("m")
    assert [(run["run"], run["pid"], run["exit"]) for run in runs] == [
        (n, 7, "exit code 0") for n in (1, 2, 3)
    ]
    # To follow a run that has ended is to read it.
    assert lines([record async for record in store.follow("m", query=Query(run=1))]) == ["run 1"]


# -- files ---------------------------------------------------------------------------------------------------


def opened(directory: Path, **options: Any) -> LogStore:
    files = LogFiles(directory, **options)
    return LogStore(LogHub(buffer_bytes=1000, files=files), files)


async def test_a_cursor_goes_on_over_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.log("m").begin_run(1)
    store.log("m").take(b"1\n2\n3\n", "stdout")
    first = (await store.read("m", query=Query(head=1)))[-1]
    cursor = store.cursor_of(first)
    store.close()

    again = opened(tmp_path)
    assert again.epoch != store.epoch
    assert again.log("m").run == 1, "runs are counted on"
    again.log("m").take(b"4\n", "stdout")
    try:
        assert lines(await again.read("m", after=cursor)) == ["2", "3", "4"]
        assert lines(await again.read(after=cursor.rsplit(".", 1)[0])) == ["2", "3", "4"]
    finally:
        again.close()


async def test_a_torn_tail_is_cut_off_and_told(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.log("m").take(b"whole\n", "stdout")
    store.log("m").take(b"torn\n", "stdout")
    store.close()
    (segment,) = store.files.archive.segments("m") if store.files else []
    data = segment.path.read_bytes()
    segment.path.write_bytes(data[:-3])

    again = opened(tmp_path)
    again.log("m").take(b"new\n", "stdout")
    records = await again.read("m", after=f"{store.epoch}:0.0.0")
    again.close()

    assert [(r.kind, r.text or r.missed) for r in records] == [
        ("line", "whole"),
        ("gap", None),
        ("line", "new"),
    ]


async def test_old_runs_and_too_many_bytes_go(tmp_path: Path) -> None:
    store = opened(tmp_path, keep_runs=1, segment_bytes=200)
    for number in range(1, 5):
        store.log("m").begin_run(number)
        store.log("m").take(b"%d" % number * 50 + b"\n", "stdout")
    assert store.files is not None
    await store.files.flushed()
    assert [segment.run for segment in store.files.archive.segments("m")] == [3, 4]

    store.files.configure(max_bytes=1000, segment_bytes=200, keep_runs=9)
    for _ in range(50):
        store.log("other").take(b"z" * 99 + b"\n", "stdout")
    await store.files.flushed()
    size = sum(
        segment.path.stat().st_size
        for name in ("m", "other")
        for segment in store.files.archive.segments(name)
    )
    assert size <= 1000 + 400, "the bound, and what is being written"
    records = await store.read("other", after=f"{store.epoch}:0.0.0")
    store.close()
    assert counted(records) == 5000
    assert records[0].kind == "gap"


async def test_a_disk_that_cannot_be_written_to_is_one_warning_and_no_harm(tmp_path: Path) -> None:
    warnings: list[str] = []
    store = opened(tmp_path / "logs", warn=warnings.append)
    (tmp_path / "logs" / "m").write_text("in the way")
    for number in range(10):
        store.log("m").take(b"%d\n" % number, "stdout")
    assert store.files is not None
    assert not await store.files.flushed()

    assert len(warnings) == 1
    assert lines(await store.read("m")) == [str(number) for number in range(10)]
    store.close()


async def test_a_reader_the_buffer_has_passed_reads_on_in_the_files(tmp_path: Path) -> None:
    store = opened(tmp_path)
    records = store.follow("m")
    store.log("m").take(b"first\n", "stdout")
    async with asyncio.timeout(20):
        assert (await anext(records)).text == "first"
        for number in range(2000):
            store.log("m").take(b"line %d\n" % number, "stdout")
        got = [await anext(records) for _ in range(2000)]
    await records.aclose()  # type: ignore[attr-defined]  # it is a generator
    store.close()

    assert [record.text for record in got] == [f"line {number}" for number in range(2000)]


async def test_a_log_whose_memory_was_given_back_is_read_from_the_files(tmp_path: Path) -> None:
    store = opened(tmp_path)
    log = store.log("org/m:q4")
    log.take(b"one\ntwo\n", "stdout")
    assert store.files is not None
    await store.files.flushed()
    log.clear(runs=True)

    assert lines(await store.read("org/m:q4")) == ["one", "two"]
    assert await store.on_disk("org/m:q4") == b"one\ntwo\n"
    log.take(b"three\n", "stdout")
    assert lines(await store.read("org/m:q4", after=f"{store.epoch}:0.0.0")) == ["one", "two", "three"]
    store.close()


def test_two_of_them_do_not_share_a_directory(tmp_path: Path) -> None:
    from hostler.logs.files import DirectoryTaken

    store = opened(tmp_path)
    with pytest.raises(DirectoryTaken):
        opened(tmp_path)
    store.close()
    opened(tmp_path).close()


# -- queries -------------------------------------------------------------------------------------------------


def ask(store: LogStore, name: str = "m", **params: str) -> list[str]:
    query = parse(params, [], store.hub.proxy._clock.wall().timestamp())
    return lines(asyncio.run(store.read(name, query=query)))


def test_queries_compose(store: LogStore) -> None:
    log = store.log("m")
    log.take(b"INFO: one\nWARNING: two\n", "stdout")
    log.take(b"ERROR: three\n  at line 7\nINFO: four\n", "stderr")

    assert ask(store, tail="2") == ["  at line 7", "INFO: four"]
    assert ask(store, head="1") == ["INFO: one"]
    assert ask(store, grep="t(wo|hree)") == ["WARNING: two", "ERROR: three"]
    assert ask(store, grep=":", invert="1") == ["  at line 7"]
    assert ask(store, level="warn") == ["WARNING: two", "ERROR: three", "  at line 7"]
    assert ask(store, level="warn", stream="stderr", tail="1") == ["  at line 7"]
    assert ask(store, since="10m") == ask(store)
    assert ask(store, until="10m") == []


@pytest.mark.parametrize(
    "params",
    [
        {"grep": "("},
        {"grep": "a" * 2000},
        {"since": "yesterday"},
        {"until": "10x"},
        {"since": "1m", "until": "2m"},
        {"tail": "-1"},
        {"head": "x"},
        {"tail": "1", "head": "1"},
        {"level": "loud"},
        {"stream": "stdin"},
        {"run": "0"},
        {"run": "x"},
        {"format": "xml"},
        {"on_gap": "panic"},
        {"invert": "1"},
        {"invert": "perhaps", "grep": "a"},
    ],
)
def test_a_query_that_is_wrong_says_why(params: dict[str, str]) -> None:
    with pytest.raises(ClientError) as caught:
        parse(params, [], 0.0)
    assert caught.value.param in params


def test_a_pattern_cannot_take_long(store: LogStore) -> None:
    store.log("m").take(b"a" * 900 + b"!\n", "stdout")
    assert ask(store, grep="(a+)+$") == []


async def test_cursors_that_lead_nowhere(store: LogStore) -> None:
    store.log("m").take(b"x\n", "stdout")
    for cursor in ("nonsense", "abc:1", "abc:1.2.3.4", "abc:-1.0"):
        with pytest.raises(ClientError):
            await store.read("m", after=cursor)
    records = await store.read("m", after="0ther:5.0.9")
    assert [(r.kind, r.missed) for r in records[:1]] == [("gap", None)]
    assert lines(records) == ["x"]
    with pytest.raises(Gone) as gone:
        await store.read("m", after="0ther:5.0.9", query=Query(on_gap="fail"))
    assert str(gone.value.details["earliest"]).startswith(store.epoch)


async def test_what_a_run_leaves_behind_its_end_is_no_part_of_the_next_one(store: LogStore) -> None:
    log = store.log("m")
    log.take(b"INFO: cut o", "stdout")
    log.event(EXIT, {"exit": "crash"})
    log.take(b"ff", "stdout")
    log.begin_run(2)
    log.event(START, {"reason": "request"})
    log.take(b"ERROR: first\n", "stdout")
    records = await store.read("m")
    assert [(r.kind, r.text) for r in records] == [
        (LINE, "INFO: cut o"), (EXIT, ""), (LINE, "ff"), (START, ""), (LINE, "ERROR: first"),
    ]  # fmt: skip


async def test_on_gap_fail_when_the_buffer_has_passed(store: LogStore) -> None:
    log = store.log("m")
    log.take(b"first\n", "stdout")
    cursor = store.cursor_of((await store.read("m"))[0])
    log.take(b"y" * 5000 + b"\n", "stdout")

    with pytest.raises(Gone):
        await store.read("m", after=cursor, query=Query(on_gap="fail"))
    assert counted(await store.read("m", after=cursor)) == 5001


async def test_a_flood_is_sampled_with_counted_gaps() -> None:
    clock = ManualClock()
    store = LogStore(LogHub())
    log = store.log("m")
    log.limit(RateLimit(100, clock))
    for _ in range(10):
        log.take(b"x" * 49 + b"\n", "stdout")
    clock.advance(1.0)
    log.take(b"calm\n", "stdout")
    records = await store.read("m")
    raw = log.history()
    store.close()

    assert [(r.kind, r.missed or len(r.raw)) for r in records] == [
        ("line", 49),
        ("line", 49),
        ("gap", 400),
        ("line", 4),
    ]
    assert b"\n[hostler] gap: 400 bytes missed\ncalm\n" in raw

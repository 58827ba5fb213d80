"""A reader that comes back when files behind its cursor are gone: delivered + missed = written, exactly.

With bounds so small that each of them is met: segments, reads, parts of reads, and how far back a reader
goes for lines that were open at its cursor.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostler.logs import journal, merge, reader, source
from hostler.logs.files import LogFiles
from hostler.logs.hub import LogHub
from hostler.logs.query import Query
from hostler.logs.records import LINE, Record
from hostler.logs.store import LogStore

LOGS = ("a", "b", "c")
WRITE = st.tuples(
    st.sampled_from(LOGS),
    st.sampled_from([b"x\n" * 40, b"line " * 30 + b"\n", b"open", b"\nend\n", b"y" * 90, b"q" * 60 + b"\n"]),
)
READ = st.one_of(st.none(), st.integers(1, 6))
FLOOD = tuple((name, b"f" * 99 + b"\n") for _ in range(4) for name in LOGS)
STEPS = st.lists(
    st.one_of(WRITE.map(lambda write: [write]), READ.map(lambda read: [read]), st.just([*FLOOD])),
    min_size=6,
    max_size=40,
).map(lambda steps: [step for some in steps for step in some])


def counted(records: list[Record]) -> int:
    """The bytes that these records account for."""
    return sum(
        len(record.raw) + (not record.partial and not record.cut)
        if record.kind == LINE
        else record.missed or 0
        for record in records
    )


async def accounted(store: LogStore, names: tuple[str, ...], steps: list[Any]) -> tuple[int, int]:
    """What one reader of `names` was told of, that reads a little now and then, and what was written."""
    cursor = f"{store.epoch}:0.0" + (".0" if len(names) == 1 else "s0.0")
    found = written = 0
    for step in [*steps, None]:
        if isinstance(step, tuple):
            name, data = step
            store.log(name).take(data, "stdout")
            written += len(data) * (name in names)
            assert store.files is None or await store.files.flushed()
            continue
        records = await store.read(*names, after=cursor, query=Query(head=step))
        found += counted(records)
        cursor = store.cursor_of(records[-1]) if records else cursor
    return found, written


SMALL = (
    (reader, "BACK", 100),
    (reader, "PART_BYTES", 32),
    (merge, "LIMIT", 64),
    (journal, "MAX_ENTRIES", 4),
    (source, "MAX_ROWS", 8),
)


def run(steps: list[Any], names: tuple[str, ...], buffer: int, *, bound: int | None) -> tuple[int, int]:
    """What was told and what was written, with files of at most `bound` bytes (None: no files)."""
    with ExitStack() as stack:
        for module, name, value in SMALL:
            stack.enter_context(mock.patch.object(module, name, value))
        directory = Path(stack.enter_context(TemporaryDirectory()))
        files = LogFiles(directory, max_bytes=bound, segment_bytes=200) if bound is not None else None
        store = LogStore(LogHub(buffer_bytes=buffer, files=files), files)
        stack.callback(store.close)
        for name in LOGS:
            store.log(name)
        return asyncio.run(accounted(store, names, steps))


@pytest.mark.parametrize("names", [("a",), LOGS], ids=["single", "merged"])
def test_a_gap_does_not_count_what_was_had_before_the_cursor(names: tuple[str, ...]) -> None:
    """The line that is open at the cursor makes the reader go back, to bytes that are gone."""
    lines = [(name, b"z" * 99 + b"\n") for name in LOGS for _ in range(3)]
    flood = [(name, (b"f" * 99 + b"\n") * 4) for name in LOGS for _ in range(3)]
    steps = [*lines, ("a", b"one\ntwo"), None, *flood]
    found, written = run(steps, names, 50, bound=1500)
    assert found == written


def test_a_lost_stretch_is_one_gap() -> None:
    """Not one for each write that it had."""
    store = LogStore(LogHub(buffer_bytes=100))
    for name in ("a", "b"):
        for _ in range(50):
            store.log(name).take(b"w" * 9 + b"\n", "stdout")
    records = asyncio.run(store.read("a", "b", after=f"{store.epoch}:1.0"))
    store.close()
    gaps = [(record.model, record.missed) for record in records if record.kind == "gap"]
    assert gaps == [("a", 400), ("b", 400)]
    assert counted(records) == 1000


@settings(max_examples=150, deadline=None)
@given(
    steps=STEPS,
    names=st.sampled_from([("a",), ("a", "b"), LOGS]),
    buffer=st.sampled_from([10, 300, 5000]),
    bound=st.sampled_from([None, 0, 1500, 4000]),
)
def test_delivered_and_missed_are_what_was_written(
    steps: list[Any], names: tuple[str, ...], buffer: int, bound: int | None
) -> None:
    found, written = run(steps, names, buffer, bound=bound)
    assert found == written

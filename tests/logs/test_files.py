"""What must hold of the files: within their bounds, complete or with a gap of that size, in nobody's way."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hostler.logs import files as files_module
from hostler.logs import reader as reader_module
from hostler.logs import segments
from hostler.logs import store as store_module
from hostler.logs.files import LogFiles
from hostler.logs.hub import LogHub
from hostler.logs.journal import EXIT, START
from hostler.logs.query import Query
from hostler.logs.records import LINE, Record
from hostler.logs.segments import Item, Segments
from hostler.logs.store import LogStore


def opened(directory: Path, *, buffer: int = 1000, **options: Any) -> LogStore:
    files = LogFiles(directory, **options)
    return LogStore(LogHub(buffer_bytes=buffer, files=files), files)


def counted(records: Sequence[Record]) -> int:
    size = sum(len(r.raw) + (not r.partial and not r.cut) for r in records if r.kind == LINE)
    return size + sum(r.missed or 0 for r in records if r.kind == "gap")


def kinds(records: Sequence[Record]) -> list[tuple[str, object]]:
    return [(r.kind, r.text if r.kind == LINE else r.missed) for r in records]


def on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*/*.log"))


class HeldUp:
    """A disk that takes nothing until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.reached = threading.Event()
        write = Segments.write

        def slow(at: Segments, source: str, items: Sequence[Item]) -> None:
            self.reached.set()
            assert self.free.wait(20)
            write(at, source, items)

        monkeypatch.setattr(Segments, "write", slow)


# -- what the queue or the disk refused ----------------------------------------------------------------------


async def test_what_the_queue_refused_is_a_gap_for_readers_and_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "MAX_QUEUED", 20_000)
    disk = HeldUp(monkeypatch)
    store = opened(tmp_path)
    log = store.log("m")
    log.take(b"first\n", "stdout")
    await asyncio.to_thread(disk.reached.wait, 20)
    for _ in range(200):
        log.take(b"x" * 999 + b"\n", "stdout")
    assert store.files is not None
    dropped = store.files.dropped
    assert dropped > 150_000
    disk.free.set()
    records = await store.read("m", after=f"{store.epoch}:0.0.0")
    store.close()

    assert sum(r.missed or 0 for r in records) <= dropped
    assert counted(records) == 6 + 200_000
    again = opened(tmp_path)
    try:
        assert again.log("m").end == 200_006, "positions go on behind what was lost"
        later = await again.read("m", after=f"{store.epoch}:0.0.0")
        assert counted(later) == 200_006
        assert sum(r.missed or 0 for r in later) == dropped
    finally:
        again.close()


async def test_the_end_of_a_run_between_refused_bytes_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that crashes in a flood: what was lost before its end and after it are two gaps."""
    monkeypatch.setattr(files_module, "MAX_QUEUED", 5_000)
    disk = HeldUp(monkeypatch)
    store = opened(tmp_path)
    log = store.log("m")
    log.take(b"first\n", "stdout")
    await asyncio.to_thread(disk.reached.wait, 20)
    for _ in range(2):
        for _ in range(40):
            log.take(b"y" * 499 + b"\n", "stdout")
        log.event(EXIT, {"exit": "crash"})
    log.take(b"last\n", "stdout")
    disk.free.set()
    store.close()
    again = opened(tmp_path)
    try:
        records = await again.read("m", after=f"{store.epoch}:0.0.0")
    finally:
        again.close()
    assert [r.kind for r in records if r.kind in ("gap", EXIT)] == ["gap", EXIT, "gap", EXIT, "gap"]
    assert counted(records) == 6 + 40_000 + 5


async def test_gaps_of_several_logs_in_turn_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "MAX_QUEUED", 5_000)
    disk = HeldUp(monkeypatch)
    store = opened(tmp_path)
    for number in range(40):
        store.log("ab"[number % 2]).take(b"y" * 499 + b"\n", "stdout")
        if number == 20:
            await asyncio.to_thread(disk.reached.wait, 20)
            disk.free.set()
            assert store.files is not None
            await store.files.flushed()
            disk.free.clear()
    disk.free.set()
    try:
        for name in "ab":
            assert counted(await store.read(name, after=f"{store.epoch}:0.0.0")) == 10_000
        assert counted(await store.read("a", "b", after=f"{store.epoch}:0.0")) == 20_000
    finally:
        store.close()


async def test_a_disk_that_hangs_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "FLUSH_SECONDS", 0.05)
    disk = HeldUp(monkeypatch)
    store = opened(tmp_path)
    store.log("m").take(b"z" * 1999 + b"\n", "stdout")
    assert store.files is not None
    assert not await store.files.flushed()
    assert counted(await store.read("m", after=f"{store.epoch}:0.0.0")) == 2000
    disk.free.set()
    store.close()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    argv = [mount, "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if subprocess.run(argv, check=False, capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        yield place
    finally:
        subprocess.run([shutil.which("umount") or "umount", str(place)], check=True)


async def test_a_full_disk_is_one_warning_and_no_harm(tiny_disk: Path) -> None:
    warnings: list[str] = []
    store = opened(tiny_disk / "logs", buffer=10_000, warn=warnings.append)
    log = store.log("m")
    for number in range(400):
        log.take(b"%06d " % number + b"x" * 992 + b"\n", "stdout")
        if number % 40 == 0:
            assert store.files is not None
            await store.files.flushed()
    records = await store.read("m", after=f"{store.epoch}:0.0.0")
    store.close()

    assert len(warnings) == 1
    assert "No space left" in warnings[0]
    assert counted(records) == 400_000
    assert [r.raw for r in records if r.kind == LINE][-1].startswith(b"000399")
    # What is there can be read, and it goes on when there is room again.
    again = opened(tiny_disk / "logs", max_bytes=60_000)
    try:
        again.log("m").take(b"again\n", "stdout")
        found = await again.read("m", after=f"{store.epoch}:0.0.0")
        assert counted(found) == again.log("m").end
        assert found[-1].text == "again"
    finally:
        again.close()


async def test_a_directory_that_vanishes_is_no_harm(tmp_path: Path) -> None:
    warnings: list[str] = []
    directory = tmp_path / "logs"
    store = opened(directory, segment_bytes=5000, warn=warnings.append)
    log = store.log("m")
    for number in range(60):
        log.take(b"%06d " % number + b"x" * 492 + b"\n", "stdout")
        if number == 30:
            assert store.files is not None
            await store.files.flushed()
            shutil.rmtree(directory)
    records = await store.read("m", after=f"{store.epoch}:0.0.0")
    store.close()
    assert counted(records) == 30_000
    assert len(warnings) <= 1
    assert records[-1].text.startswith("000059")


# -- bounds --------------------------------------------------------------------------------------------------


async def test_many_logs_together_stay_within_the_bound(tmp_path: Path) -> None:
    bound = 40_000
    store = opened(tmp_path, max_bytes=bound, segment_bytes=30_000)
    assert store.files is not None
    for number in range(300):
        store.log(f"model-{number % 30}").take(b"%d" % number * 150 + b"\n", "stdout")
        if number % 10 == 0:
            await store.files.flushed()
            assert on_disk(tmp_path) <= bound
    ends = {name: store.log(name).end for name in store.hub.models()}
    store.close()
    assert on_disk(tmp_path) <= bound

    again = opened(tmp_path, max_bytes=bound)
    try:
        assert {name: again.log(name).end for name in again.hub.models()} == ends, "positions are used once"
        for name, end in ends.items():
            assert counted(await again.read(name, after=f"{store.epoch}:0.0.0")) == end
        total = sum(ends.values())
        assert counted(await again.read(*ends, after=f"{store.epoch}:0.0s0.{view(ends)}")) == total
    finally:
        again.close()


def view(names: dict[str, int]) -> int:
    from zlib import crc32

    return crc32("\n".join(names).encode()) % 1_000_000 or 1


async def test_a_cursor_of_several_logs_counts_what_the_bound_took(tmp_path: Path) -> None:
    store = opened(tmp_path, max_bytes=20_000, segment_bytes=2_000)
    for name in "ab":
        store.log(name).take(b"first\n", "stdout")
    first = (await store.read("a", "b"))[-1]
    for number in range(100):
        store.log("ab"[number % 2]).take(b"%03d" % number * 150 + b"\n", "stdout")
    store.close()

    again = opened(tmp_path)
    try:
        records = await again.read("a", "b", after=store.cursor_of(first))
        assert (records[0].kind, records[0].model) == ("gap", "")
        assert counted(records) == 100 * 451
        rest = await again.read("a", "b", after=again.cursor_of(records[3]))
        assert counted(rest) == counted(records[4:])
    finally:
        again.close()


async def test_the_list_of_runs_does_not_grow_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "RUNS_BYTES", 2_000)
    store = opened(tmp_path)
    log = store.log("m")
    for number in range(1, 60):
        log.begin_run(number)
        log.event(START, {"reason": "request"})
        log.event(EXIT, {"exit": "exit code 1"})
        log.end_run(number)
    assert store.files is not None
    await store.files.flushed()
    assert (tmp_path / "m" / "runs.jsonl").stat().st_size <= 2_000
    assert store.files.archive.runs("m")[-1]["run"] == 59
    store.close()


# -- what a crash leaves -------------------------------------------------------------------------------------


def crashed(store: LogStore) -> None:
    """Let go of the directory as a process does that is killed: nothing is said of the end."""
    assert store.files is not None
    meta = store.files._directory / "meta.json"
    before = meta.read_bytes()
    store.close()
    meta.write_bytes(before)


async def test_a_crash_in_the_middle_of_a_run_shows(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for name in ("running", "ended"):
        log = store.log(name)
        log.begin_run(1)
        log.event(START, {"reason": "request"})
        log.take(b"line\n", "stdout")
    store.log("ended").event(EXIT, {"exit": "exit code 0"})
    crashed(store)

    again = opened(tmp_path)
    await again.read("running")
    assert ("gap", None) in kinds(await again.read("running", after=f"{store.epoch}:0.0.0"))
    assert ("gap", None) not in kinds(await again.read("ended", after=f"{store.epoch}:0.0.0"))
    again.close()
    third = opened(tmp_path)
    gaps = [k for k in kinds(await third.read("running", after=f"{store.epoch}:0.0.0")) if k[0] == "gap"]
    third.close()
    assert len(gaps) == 1, "it is told once"


async def test_a_follower_is_told_of_a_torn_tail(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.log("m").take(b"whole\n", "stdout")
    last = (await store.read("m"))[-1]
    store.log("m").take(b"torn\n", "stdout")
    crashed(store)
    (segment,) = (tmp_path / "m").glob("*.log")
    segment.write_bytes(segment.read_bytes()[:-3])

    again = opened(tmp_path)
    records = again.follow("m", after=store.cursor_of(last))
    async with asyncio.timeout(20):
        first = await anext(records)
        again.log("m").take(b"new\n", "stdout")
        second = await anext(records)
    await records.aclose()  # type: ignore[attr-defined]  # it is a generator
    again.close()
    assert kinds([first, second]) == [("gap", None), ("line", "new")]


async def test_logs_of_models_that_are_gone_are_found_after_a_restart(tmp_path: Path) -> None:
    names = ["gone/model:q4", "with~tilde", "x" * 300]
    store = opened(tmp_path)
    for name in names:
        store.log(name).take(name.encode()[:20] + b"\n", "stdout")
    cursor = f"{store.epoch}:0.0"
    store.close()

    again = opened(tmp_path)
    try:
        assert sorted(again.hub.models()) == sorted(names)
        for name in names:
            assert kinds(await again.read(name)) == [("line", name[:20])]
        assert len(await again.read(after=cursor)) == 3, "a reader of everything goes on in them"
        again.log(names[0]).take(b"more\n", "stdout")
        assert kinds(await again.read(names[0]))[-1] == ("line", "more")
    finally:
        again.close()


# -- bounded work --------------------------------------------------------------------------------------------


PAD = b"." * 180


class Counted:
    """Counts the bytes that are read of segments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from hostler.logs import archive, frames

        self.bytes = 0
        decode = frames.decode

        def counting(buffer: bytes, at: int = 0) -> Any:
            frame = decode(buffer, at)
            self.bytes += len(frame.data) if frame is not None else 0
            return frame

        monkeypatch.setattr(archive, "decode", counting)


@pytest.fixture
async def large(tmp_path: Path) -> Any:
    """Two megabytes in many segments of ten runs."""
    store = opened(tmp_path, segment_bytes=50_000, keep_runs=20, max_bytes=0)
    log = store.log("m")
    for run in range(1, 11):
        log.begin_run(run)
        log.event(START, {"reason": "request"})
        for number in range(10):
            some = range(number * 100, number * 100 + 100)
            text = b"".join(b"INFO: run %02d line %05d %b\n" % (run, n, PAD) for n in some)
            log.take(text, "stdout")
        log.event(EXIT, {"exit": "exit code 0"})
    assert store.files is not None
    await store.files.flushed()
    log.release()
    yield store
    store.close()


async def test_the_newest_lines_are_read_from_the_end(
    large: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "TAIL_BYTES", 10_000)
    monkeypatch.setattr(reader_module, "BACK", 1_000)
    read = Counted(monkeypatch)
    found = [r.text[6:23] for r in await large.read("m", query=Query(tail=3)) if r.kind == LINE]
    assert found == ["run 10 line 00997", "run 10 line 00998", "run 10 line 00999"]
    assert read.bytes < 150_000

    all_of_it = [r for r in await large.read("m", query=Query(tail=5_000)) if r.kind == LINE]
    assert (len(all_of_it), all_of_it[0].text[6:23]) == (5_000, "run 06 line 00000")
    whole = await large.read("m", query=Query(tail=1_000_000))
    assert sum(r.kind == LINE for r in whole) == 10_000


async def test_one_run_and_what_came_lately_are_read_without_the_rest(
    large: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [record.time for record in await large.read("m", query=Query(run=9))]
    read = Counted(monkeypatch)
    found = [r for r in await large.read("m", query=Query(run=5)) if r.kind == LINE]
    assert (len(found), found[0].text[6:23], found[-1].text[6:23]) == (
        1_000, "run 05 line 00000", "run 05 line 00999",
    )  # fmt: skip
    assert read.bytes < 500_000

    read.bytes = 0
    late = [r for r in await large.read("m", query=Query(since=times[0])) if r.kind == LINE]
    assert 2_000 <= len(late) <= 10_000
    assert {line.text[6:12] for line in late} >= {"run 09", "run 10"}
    assert read.bytes < 2_500_000


async def test_the_newest_lines_of_several_logs(tmp_path: Path) -> None:
    store = opened(tmp_path, segment_bytes=100_000)
    for number in range(3000):
        name = "b" if number % 100 == 0 else "a"
        store.log(name).take(b"INFO: %05d %b\n" % (number, b"x" * 500), "stdout")
    try:
        for count in (1, 5, 700, 2999, 5000):
            records = await store.read("a", "b", query=Query(tail=count))
            assert [int(r.text[6:11]) for r in records] == list(range(max(0, 3000 - count), 3000)), count
        records = await store.read("a", "b", query=Query(tail=20, stream="stderr"))
        assert records == []
    finally:
        store.close()

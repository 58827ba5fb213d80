"""What must hold: no row is lost that could be kept, nothing about the store can hurt a request."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from hostler.clock import ManualClock
from hostler.metrics import activity
from hostler.metrics.activity import ActivityStore
from hostler.metrics.query import ActivityQuery
from hostler.metrics.record import ErrorKind, RequestRecord, row_of
from hostler.metrics.settings import StoreSettings

from .rows import BEGAN, row

EVERYTHING = ActivityQuery(limit=999)


@asynccontextmanager
async def store(path: Path | None = None, **settings: Any) -> AsyncIterator[tuple[ActivityStore, list[str]]]:
    said: list[str] = []
    made = ActivityStore(StoreSettings(path, **settings), on_problem=said.append)
    try:
        yield made, said
    finally:
        await made.close()


def fill(made: ActivityStore, count: int, **fields: Any) -> None:
    for _ in range(count):
        made.add(row(made.next_id(), **fields))


def in_file(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        count: int = connection.execute("SELECT COUNT(*) FROM activity").fetchone()[0]
        return count


async def ids(made: ActivityStore, query: ActivityQuery = EVERYTHING) -> list[int]:
    return [found.id for found in (await made.page(query)).rows]


async def test_a_row_comes_back_as_it_went_in(tmp_path: Path) -> None:
    for path in (None, tmp_path / "activity.db"):
        async with store(path) as (made, said):
            wanted = row(
                made.next_id(), metadata={"selector": "s"}, key="ann", run=3, queue_ms=1, load_ms=2,
                bytes_in=4, first_byte_ms=5, first_token_ms=6, bytes_out=7, finish_reason="stop", error="no",
                error_kind=ErrorKind.ENGINE, speed_estimated=True, draft_tokens=9, draft_accepted_tokens=8,
            )  # fmt: skip
            made.add(wanted)

            page = await made.page(ActivityQuery())

            assert page.rows == [wanted]
            assert page.total == 1
            assert said == []


async def test_memory_keeps_the_newest() -> None:
    async with store(memory_rows=10) as (made, _):
        fill(made, 35)

        assert await ids(made) == list(range(35, 25, -1))
        assert (await made.stats(ActivityQuery())).totals.requests == 10


async def test_memory_writes_nothing_before_somebody_asks() -> None:
    async with store(memory_rows=10) as (made, _):
        fill(made, 5000)
        assert "0 to write" in repr(made)
        assert await ids(made) == list(range(5000, 4990, -1))
        fill(made, 3)
        assert await ids(made) == list(range(5003, 4993, -1))


async def test_a_large_memory_loses_nothing_while_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a memory larger than what may be on its way go to the database with the first question."""
    monkeypatch.setattr(activity, "MAX_OUTSTANDING", 50)
    async with store(memory_rows=200) as (made, said):
        fill(made, 200)
        asking = asyncio.ensure_future(made.page(EVERYTHING))
        await asyncio.sleep(0)
        fill(made, 40)
        await asking

        assert await ids(made) == list(range(240, 40, -1))
        assert (made.lost, said) == (0, [])


async def test_what_is_asked_for_is_found(tmp_path: Path) -> None:
    async with store(tmp_path / "a.db") as (made, _):
        fill(made, 3)
        fill(made, 2, model="b", status=404, path="/v1/embeddings", error="100% wrong_path", key="ann")
        fill(made, 1, model="b", status=502)

        assert await ids(made, ActivityQuery(models=("b",))) == [6, 5, 4]
        assert await ids(made, ActivityQuery(statuses=("4xx",))) == [5, 4]
        assert await ids(made, ActivityQuery(statuses=("502", "404"))) == [6, 5, 4]
        assert await ids(made, ActivityQuery(keys=("ann",))) == [5, 4]
        assert await ids(made, ActivityQuery(paths=("/v1/emb*",))) == [5, 4]
        assert await ids(made, ActivityQuery(paths=("/v1/embeddings",), models=("a",))) == []
        assert await ids(made, ActivityQuery(text="0% WRONG_")) == [5, 4]
        assert await ids(made, ActivityQuery(text="%")) == [5, 4]
        assert await ids(made, ActivityQuery(request_id="r3")) == [3]
        assert await ids(made, ActivityQuery(min_id=2, max_id=3, descending=False)) == [2, 3]
        assert await ids(made, ActivityQuery(start=BEGAN + 5)) == [6, 5]
        assert await ids(made, ActivityQuery(end=BEGAN + 2)) == [2, 1]
        assert await ids(made, ActivityQuery(sort="resp_status_code", limit=3)) == [6, 5, 4]
        assert await ids(made, ActivityQuery(page=2, limit=4)) == [2, 1]
        assert (await made.page(ActivityQuery(page=9, limit=4))).total == 6
        assert (await made.stats(ActivityQuery(statuses=("4xx",)))).totals.requests == 2


async def test_of_many_rows_speeds_are_told_by_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostler.metrics.database.EXACT_ROWS", 10)
    async with store() as (made, _):
        fill(made, 7)
        fill(made, 3, model="b", tokens_per_second=123.456, status=404)
        exact = await made.stats(ActivityQuery(models=("b",)))
        fill(made, 1)
        near = await made.stats(ActivityQuery(statuses=("4xx",)))
        nothing = await made.stats(ActivityQuery(paths=("/none",)))

    assert exact.answer is not None
    assert near.answer is not None
    assert exact.answer.p95 == 123.456 != near.answer.p95
    assert near.answer.p95 == pytest.approx(123.456, rel=0.005)
    assert (exact.totals.requests, near.totals.requests, near.answer.bins) == (3, 3, [3])
    assert (nothing.totals.requests, nothing.prompt, nothing.answer) == (0, None, None)


async def test_a_burst_is_counted_exactly(tmp_path: Path) -> None:
    async with store(tmp_path / "a.db") as (made, said):
        fill(made, 10_000)
        stats = await made.stats(ActivityQuery())
        while stats.totals.requests < 10_000:  # the question does not wait for more than a second
            stats = await made.stats(ActivityQuery())

        assert stats.totals.requests == 10_000
        assert stats.totals.output_tokens == 500_000
        assert made.lost == 0
        assert said == []


async def test_more_than_can_be_written_is_dropped_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activity, "MAX_OUTSTANDING", 5)
    async with store(tmp_path / "a.db") as (made, said):
        fill(made, 9)

        assert made.lost == 4
        assert len(said) == 1
        assert await ids(made) == [5, 4, 3, 2, 1]


async def test_a_clean_close_loses_nothing_and_ids_go_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with store(path) as (made, _):
        fill(made, 7)
    async with store(path) as (made, _):
        fill(made, 1)

        assert await ids(made) == [8, 7, 6, 5, 4, 3, 2, 1]
        assert (await made.stats(ActivityQuery())).totals.requests == 8


async def test_rows_and_age_are_bounded_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with store(path, max_rows=10) as (made, _):
        fill(made, 5)
        await made.page(EVERYTHING)
        fill(made, 8)

        assert await ids(made) == list(range(13, 3, -1))
    clock = ManualClock()
    clock.advance(86_400 + 10.5)
    aged = ActivityStore(StoreSettings(path, retention_days=1), on_problem=print, clock=clock)
    fill(aged, 1)

    assert await ids(aged) == [14, 13, 12, 11, 10]
    assert (await aged.stats(ActivityQuery())).totals.requests == 5
    await aged.close()


@pytest.mark.parametrize("content", [b"this is not a database, by no means" * 100, b""])
async def test_a_file_that_is_no_database(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    async with store(path) as (made, said):
        fill(made, 2)

        newest, older = await ids(made)
        assert newest == older + 1
        assert len(said) == (1 if content else 0)


async def test_a_file_that_cannot_be_opened_is_taken_up_when_it_can(tmp_path: Path) -> None:
    """Rows of an earlier life keep their numbers, and the new ones get none of those."""
    path = tmp_path / "there" / "a.db"
    path.parent.mkdir()
    async with store(path) as (made, _):
        fill(made, 3)
    gone = path.parent.rename(tmp_path / "gone")
    async with store(path) as (made, said):
        made._writer.retry_seconds = 0.0
        fill(made, 2)
        first, second = reversed(await ids(made))
        assert 3 < first < second
        assert ["cannot be used" in text for text in said] == [True]

        gone.rename(path.parent)
        made._writer._retry_at = 0.0
        fill(made, 1)
        while made._writer.failing:
            await ids(made)
        assert await ids(made) == [second + 1, second, first, 3, 2, 1]
        assert ["can be written again" in text for text in said] == [False, True]
    assert in_file(path) == 6


async def test_a_file_that_fails_is_one_warning_and_is_taken_up_again(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with store(path) as (made, said):
        made._writer.retry_seconds = 0.0
        fill(made, 2)
        assert await ids(made) == [2, 1]
        moved = path.rename(tmp_path / "b.db")
        path.mkdir()
        fill(made, 2)
        assert await ids(made) == [4, 3, 2, 1]
        fill(made, 1)
        assert await ids(made) == [5, 4, 3, 2, 1]
        assert ["cannot be written" in text for text in said] == [True]

        path.rmdir()
        moved.rename(path)
        fill(made, 1)
        while made._writer.failing:
            await ids(made)

        assert await ids(made) == [6, 5, 4, 3, 2, 1]
        assert ["can be written again" in text for text in said] == [False, True]
    assert in_file(path) == 6


async def test_a_locked_file_delays_no_request(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with store(path) as (made, _):
        assert made._file is not None
        made._file.connection.execute("PRAGMA busy_timeout = 50")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        fill(made, 3)

        assert await ids(made) == [3, 2, 1]
        other.execute("COMMIT")
        other.close()
    assert in_file(path) == 3


async def test_a_full_disk(tmp_path: Path) -> None:
    """Full for SQLite: no page more than there are."""
    path = tmp_path / "a.db"
    async with store(path) as (made, said):
        fill(made, 1)
        assert await ids(made) == [1]
        assert made._file is not None
        pages = made._file.connection.execute("PRAGMA page_count").fetchone()[0]
        made._file.connection.execute(f"PRAGMA max_page_count = {pages}")
        fill(made, 600, error="x" * 500)

        assert (await made.page(ActivityQuery())).total == 601
        while not said:
            await asyncio.sleep(0)
        assert "full" in said[0]


async def test_a_number_that_is_taken_costs_no_row(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with store(path) as (made, said):
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("INSERT INTO activity (model_id) VALUES ('other')")
        fill(made, 2)

        assert await ids(made) == [3, 2, 1]
        assert said == []


async def test_after_a_close_nothing_of_ours_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with store(path) as (made, _):
        fill(made, 1)
        await ids(made)

    # SQLite takes its two companions away when the last connection closes.
    assert [found.name for found in tmp_path.iterdir()] == ["a.db"]


async def test_what_no_database_takes_costs_no_row() -> None:
    """An engine may say half a character in JSON."""
    record = RequestRecord(model="a", path="/x", request_id="r", key="", began=0.0)
    record.finish_reason, record.error = "\ud800", "grüße \udfff"
    async with store() as (made, said):
        made.add(row_of(record, number=made.next_id(), now=1.0, wall_ms=1))
        page = await made.page(ActivityQuery())

    assert [(row.finish_reason, row.error) for row in page.rows] == [("?", "grüße ?")]
    assert said == []


async def test_many_at_once_are_kept_as_one_by_one() -> None:
    said: list[str] = []
    store = ActivityStore(StoreSettings(memory_rows=5), on_problem=said.append)
    for at in range(0, 12, 3):
        store.add_all([row(store.next_id()) for _ in range(at, at + 3)])
        assert len(store._pending) <= 5
    page = await store.page(ActivityQuery())

    assert [one.id for one in page.rows] == [12, 11, 10, 9, 8]
    assert (store.lost, said) == (0, [])
    await store.close()
    store.add_all([row(13), row(14)])
    assert (store.lost, len(said)) == (2, 1)

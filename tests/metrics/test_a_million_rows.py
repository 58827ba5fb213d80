"""What must hold: a million rows are as quick to look at as a thousand."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from hostler.metrics.activity import ActivityStore
from hostler.metrics.database import Database
from hostler.metrics.query import ActivityQuery
from hostler.metrics.settings import StoreSettings

from .rows import row

ROWS = 1_000_000
FILL = f"""
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
INSERT INTO activity SELECT i, 1700000000 + i, 'model-' || (i % 7), '/v1/messages', 'application/json',
    CASE WHEN i % 100 = 0 THEN 502 ELSE 200 END, i % 50 - 1, -1, -1, i % 4000, i % 900,
    i % 3001 / 2.0, i % 1999 / 10.0, i % 60000, '', '' FROM n;
INSERT INTO hostler_activity SELECT id, ts_created * 1000, 'request-' || id, '', 1, 0, 0, 5, 50, 100, 1000,
    'stop', '', 0 FROM activity;
"""
# Of five tries the best must be below: the machine has other things to do.
TRIES = 5
LIMIT = 0.100


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_million_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FILL)
    began = time.monotonic()
    store = ActivityStore(StoreSettings(path, max_rows=ROWS), on_problem=pytest.fail)
    assert time.monotonic() - began < 0.5, "opening waited for the count"
    worst = await loop_stays_awake_until(store, lambda: store._writer._totals is not None)
    assert worst < 0.25, f"the event loop stood still for {worst:.2f} s"

    stats = await store.stats(ActivityQuery())
    assert stats.totals.requests == ROWS
    assert stats.prompt is not None
    assert stats.prompt.p50 == pytest.approx(750, rel=0.01)
    assert stats.prompt.max == pytest.approx(1500, rel=0.01)

    for query in (
        ActivityQuery(),
        ActivityQuery(models=("model-3",)),
        ActivityQuery(sort="time"),
        ActivityQuery(page=100),
    ):
        assert await best(partial(store.page, query)) < LIMIT, query
    for query in (ActivityQuery(), ActivityQuery(models=("model-3", "model-4"))):
        assert await best(partial(store.stats, query)) < LIMIT, query
    assert await best(lambda: store.page(ActivityQuery(request_id="request-777"))) < LIMIT
    assert await best(lambda: store.page(ActivityQuery(statuses=("5xx",)))) < LIMIT

    store.add(row(store.next_id()))
    page = await store.page(ActivityQuery())
    assert (page.rows[0].id, page.total) == (ROWS + 1, ROWS)
    await store.close()


async def best(question: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(TRIES):
        began = time.monotonic()
        await question()
        times.append(time.monotonic() - began)
    return min(times)


async def loop_stays_awake_until(store: ActivityStore, condition: Callable[[], bool]) -> float:
    worst, last = 0.0, time.monotonic()
    while not condition():
        await asyncio.sleep(0)
        now = time.monotonic()
        worst, last = max(worst, now - last), now
    return worst

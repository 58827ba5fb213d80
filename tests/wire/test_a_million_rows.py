"""What must hold: a million rows are as quick to look at as a thousand, whatever is asked for."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hostler.metrics.activity import ActivityStore
from hostler.metrics.database import Database

from .server import Front, config, running, stub

pytestmark = [
    pytest.mark.asyncio(loop_factories=["uvloop"]),
    pytest.mark.slow,
    pytest.mark.timeout(180),
]

ROWS = 1_000_000
FILL = f"""
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
INSERT INTO activity SELECT i, 1700000000 + i, 'model-' || (i % 7),
    CASE i % 3 WHEN 0 THEN '/v1/messages' ELSE '/v1/chat/completions' END, 'application/json',
    CASE WHEN i % 100 = 0 THEN 502 ELSE 200 END, i % 50 - 1, -1, -1, i % 4000, i % 900,
    i % 3001 / 2.0, i % 1999 / 10.0, i % 60000, '', '' FROM n;
INSERT INTO hostler_activity SELECT id, ts_created * 1000, 'request-' || id, 'key-' || (id % 4), 1, 0, 0, 5,
    50, 100, 1000, 'stop', '', 0 FROM activity;
"""
# Seconds of processor time, all threads together; of several tries the best, as others use the caches.
TRIES = 5
LIMIT = 0.100
# A question that has to look at every row: no index and no sum can help with these.
LONG = 5.0
DAY = "start=2023-11-20T00:00:00Z&end=2023-11-20T06:00:00Z"
GROUPS = (
    "", "model=model-3", "model=model-3&model=model-4", "status=5xx", "status=200",
    "status=2xx", "status=2xx&model=model-1",
    "key=key-2", "key=key-1&key=key-2&status=502", "path=/v1/messages", "path=/v1/*&model=model-2",
    "path=/nothing", "status=404", DAY, f"{DAY}&model=model-3", "min_id=990000", "request_id=request-777",
)  # fmt: skip
PAGES = ("sort=time", "sort=model", "sort=resp_status_code", "page=100&status=2xx", "limit=999",
         "status=5xx&sort=time&order=asc", "start=2023-11-20T00:00:00Z", "min_id=500000")  # fmt: skip
SCANS = ("sort=duration", "sort=gen_speed&status=5xx", "q=nobody", "q=REQUEST-77&model=model-3")


async def test_a_million_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FILL)
    began = time.monotonic()
    async with running(config(stub("a"), store_path=str(path), store_max_rows=ROWS)) as front:
        assert time.monotonic() - began < 1.0, "opening waited for the count"
        store = front.hostler.observatory.store
        worst = await loop_stays_awake_until_counted(store)
        assert worst < 0.5, f"the event loop stood still for {worst:.2f} s"

        stats = await ask(front, "stats?")
        assert (stats["total_requests"], stats["total_input_tokens"]) == (ROWS, 250 * sum(range(4000)))
        assert stats["prompt_histogram"]["p50"] == pytest.approx(750, rel=0.01)
        assert stats["prompt_histogram"]["max"] == pytest.approx(1500, rel=0.01)
        slow = {}
        for question in [f"{kind}?{group}" for group in GROUPS for kind in ("activity", "stats")] + [
            f"activity?{page}" for page in PAGES
        ]:
            seconds = await best(front, question)
            if seconds >= LIMIT:
                slow[question] = round(seconds, 3)
        assert slow == {}
        for scan in SCANS:
            assert await best(front, f"activity?{scan}", 1) < LONG, scan

        page = await ask(front, "activity?status=5xx&path=/v1/messages")
        assert (
            page["total"]
            == (await ask(front, "stats?status=5xx&path=/v1/messages"))["total_requests"]
            == 3333
        )
        await front.chat("a")
        page = await ask(front, "activity?")
        assert (page["data"][0]["id"], page["total"]) == (ROWS + 1, ROWS)


async def ask(front: Front, question: str) -> Any:
    answer = await front.get(f"/api/metrics/{question}")
    assert answer.status == 200, answer.body
    return answer.json()


async def best(front: Front, question: str, tries: int = TRIES) -> float:
    fastest = LONG
    for _ in range(tries):
        began = time.process_time()
        await ask(front, question)
        fastest = min(fastest, time.process_time() - began)
        if fastest < LIMIT:
            break
    return fastest


async def loop_stays_awake_until_counted(store: ActivityStore) -> float:
    worst, last = 0.0, time.monotonic()
    while store._writer._totals is None:
        await asyncio.sleep(0)
        now = time.monotonic()
        worst, last = max(worst, now - last), now
    return worst

"""What must hold: llama-swap's file goes on with us, and ours with llama-swap."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hostler.metrics.activity import ActivityStore
from hostler.metrics.query import ActivityQuery
from hostler.metrics.settings import StoreSettings
from hostler.metrics.sql import metadata_of

from .rows import BEGAN, row

# The documented table, as its migration 1 leaves it behind.
THEIR_FILE = """
CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1);
INSERT INTO goose_db_version (version_id, is_applied) VALUES (1, 1);
CREATE TABLE activity (id INTEGER PRIMARY KEY AUTOINCREMENT, ts_created INTEGER NOT NULL DEFAULT 0,
    model_id TEXT NOT NULL DEFAULT '', req_path TEXT NOT NULL DEFAULT '',
    resp_content_type TEXT NOT NULL DEFAULT '', resp_status_code INTEGER NOT NULL DEFAULT 0,
    cache_tokens INTEGER NOT NULL DEFAULT 0, draft_tokens INTEGER NOT NULL DEFAULT 0,
    draft_acc_tokens INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, prompt_per_second REAL NOT NULL DEFAULT 0,
    tokens_per_second REAL NOT NULL DEFAULT 0, duration_ms INTEGER NOT NULL DEFAULT 0,
    error_msg TEXT NOT NULL DEFAULT '', metadata_json TEXT NOT NULL DEFAULT '');
CREATE INDEX idx_activity_created_id ON activity (ts_created DESC, id DESC);
CREATE INDEX idx_activity_model_created_id ON activity (model_id, ts_created DESC, id DESC);
"""
THEIR_COLUMNS = (
    "ts_created, model_id, req_path, resp_content_type, resp_status_code, cache_tokens, draft_tokens, "
    "draft_acc_tokens, input_tokens, output_tokens, prompt_per_second, tokens_per_second, duration_ms, "
    "error_msg, metadata_json"
)


def insert_as_they_do(path: Path, model: str) -> int:
    with sqlite3.connect(path) as theirs:
        cursor = theirs.execute(
            f"INSERT INTO activity ({THEIR_COLUMNS}) VALUES (?, ?, '/v1/messages', 'text/event-stream', 200, "
            "-1, -1, -1, 12, 34, 56.5, 7.25, 890, '', '{\"fifo_priority\":\"3\"}')",
            (BEGAN, model),
        )
    number = cursor.lastrowid
    theirs.close()
    assert number is not None
    return number


async def test_a_file_goes_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "llama-swap.db"
    with sqlite3.connect(path) as theirs:
        theirs.executescript(THEIR_FILE)
    theirs.close()
    for _ in range(3):
        insert_as_they_do(path, "old")

    store = ActivityStore(StoreSettings(path), on_problem=pytest.fail)
    store.add(row(store.next_id(), model="ours", key="ann"))
    page = await store.page(ActivityQuery())
    stats = await store.stats(ActivityQuery())
    await store.close()

    assert [(found.id, found.model) for found in page.rows] == [
        (4, "ours"),
        (3, "old"),
        (2, "old"),
        (1, "old"),
    ]
    old = page.rows[-1]
    assert (old.timestamp_ms, old.metadata, old.queue_ms) == (BEGAN * 1000, {"fifo_priority": "3"}, -1)
    assert (stats.totals.requests, stats.totals.input_tokens, stats.totals.cache_tokens) == (4, 56, 8)

    assert insert_as_they_do(path, "new") == 5
    theirs = sqlite3.connect(path)
    select = f"SELECT id, {THEIR_COLUMNS} FROM activity WHERE model_id = ? ORDER BY ts_created DESC, id DESC"
    assert theirs.execute(select, ("ours",)).fetchall() == [
        (4, BEGAN + 4, "ours", "/v1/chat/completions", "application/json", 200, 8, 0, 0, 20, 50, 100.0, 40.0,
         1450, "", "")
    ]  # fmt: skip
    columns = [line[1] for line in theirs.execute("PRAGMA table_info(activity)")]
    assert columns == ["id", *THEIR_COLUMNS.split(", ")]
    versions = theirs.execute("SELECT version_id, is_applied FROM goose_db_version ORDER BY id").fetchall()
    assert versions == [(0, 1), (1, 1)]
    theirs.close()


async def test_a_file_of_ours_has_their_marker_and_table(tmp_path: Path) -> None:
    path = tmp_path / "ours.db"
    store = ActivityStore(StoreSettings(path), on_problem=pytest.fail)
    await store.close()
    fresh, composed = sqlite3.connect(path), sqlite3.connect(":memory:")
    composed.executescript(THEIR_FILE)

    for pragma in ("table_info(activity)", "table_info(goose_db_version)"):
        assert fresh.execute(f"PRAGMA {pragma}").fetchall() == composed.execute(f"PRAGMA {pragma}").fetchall()
    theirs = "SELECT name FROM sqlite_master WHERE name LIKE 'idx_%' ORDER BY name"
    assert fresh.execute(theirs).fetchall() == composed.execute(theirs).fetchall()
    versions = "SELECT version_id, is_applied FROM goose_db_version ORDER BY id"
    assert fresh.execute(versions).fetchall() == composed.execute(versions).fetchall()
    fresh.close()
    composed.close()


async def test_another_table_of_that_name_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute(
            "CREATE TABLE activity (id INTEGER PRIMARY KEY, model_id TEXT, ts_created, resp_status_code)"
        )
    other.close()
    said: list[str] = []

    store = ActivityStore(StoreSettings(path), on_problem=said.append)
    store.add(row(store.next_id()))
    assert (await store.page(ActivityQuery())).total == 1
    await store.close()

    assert len(said) == 1
    assert "no column req_path" in said[0]
    other = sqlite3.connect(path)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("activity",)]
    other.close()


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("", {}),
        ('{"a": "b", "n": 3}', {"a": "b", "n": "3"}),
        ("[1]", {"metadata": "[1]"}),
        ("{", {"metadata": "{"}),
    ],
)
def test_metadata_of_any_kind(text: str, metadata: dict[str, str]) -> None:
    assert metadata_of(text) == metadata

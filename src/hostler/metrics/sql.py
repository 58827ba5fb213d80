"""The tables of the activity and the way between rows and SQL.

`activity` is llama-swap's table, with its indexes and the marker of its migrations, so that it opens our
files and we open its. What we know beyond that is in `hostler_activity`, keyed by the same id: a table of
our own can never collide with a column that a later llama-swap adds to its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hostler.metrics.record import ActivityRow, ErrorKind

# The marker of goose, llama-swap's migrations: version 1 is the table below.
MIGRATION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts_created INTEGER NOT NULL DEFAULT 0,
    model_id TEXT NOT NULL DEFAULT '',
    req_path TEXT NOT NULL DEFAULT '',
    resp_content_type TEXT NOT NULL DEFAULT '',
    resp_status_code INTEGER NOT NULL DEFAULT 0,
    cache_tokens INTEGER NOT NULL DEFAULT 0,
    draft_tokens INTEGER NOT NULL DEFAULT 0,
    draft_acc_tokens INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    prompt_per_second REAL NOT NULL DEFAULT 0,
    tokens_per_second REAL NOT NULL DEFAULT 0,
    duration_ms INTEGER NOT NULL DEFAULT 0,
    error_msg TEXT NOT NULL DEFAULT '',
    metadata_json TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS idx_activity_created_id ON activity (ts_created DESC, id DESC);
CREATE INDEX IF NOT EXISTS idx_activity_model_created_id ON activity (model_id, ts_created DESC, id DESC);
CREATE TABLE IF NOT EXISTS goose_db_version (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp TIMESTAMP DEFAULT (datetime('now'))
);
INSERT INTO goose_db_version (version_id, is_applied)
    SELECT 0, 1 WHERE NOT EXISTS (SELECT 1 FROM goose_db_version WHERE version_id = 0);
INSERT INTO goose_db_version (version_id, is_applied)
    SELECT 1, 1 WHERE NOT EXISTS (SELECT 1 FROM goose_db_version WHERE version_id = 1);
CREATE TABLE IF NOT EXISTS hostler_activity (
    id INTEGER PRIMARY KEY,
    ts_ms INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    key_name TEXT NOT NULL,
    run INTEGER NOT NULL,
    queue_ms INTEGER NOT NULL,
    load_ms INTEGER NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    first_token_ms INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    error_kind TEXT NOT NULL,
    speed_estimated INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS hostler_activity_request ON hostler_activity (request_id);
CREATE INDEX IF NOT EXISTS hostler_activity_key ON hostler_activity (key_name, id DESC);
CREATE INDEX IF NOT EXISTS hostler_activity_status ON activity (resp_status_code, id DESC);
CREATE INDEX IF NOT EXISTS hostler_activity_model ON activity (model_id, id DESC);
"""

THEIRS = (
    "id", "ts_created", "model_id", "req_path", "resp_content_type", "resp_status_code", "cache_tokens",
    "draft_tokens", "draft_acc_tokens", "input_tokens", "output_tokens", "prompt_per_second",
    "tokens_per_second", "duration_ms", "error_msg", "metadata_json",
)  # fmt: skip
OURS = (
    "id", "ts_ms", "request_id", "key_name", "run", "queue_ms", "load_ms", "first_byte_ms", "first_token_ms",
    "bytes_in", "bytes_out", "finish_reason", "error_kind", "speed_estimated",
)  # fmt: skip


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - our own names


INSERT_THEIRS = _insert("activity", THEIRS)
# A row of ours may outlive its row of theirs when another program deletes those; the id was free then.
INSERT_OURS = _insert("hostler_activity", OURS).replace("INSERT", "INSERT OR REPLACE", 1)
COLUMNS = ", ".join((*(f"a.{name}" for name in THEIRS), *(f"h.{name}" for name in OURS[1:])))


def theirs(row: ActivityRow) -> tuple[Any, ...]:
    """The values of `row` for INSERT_THEIRS."""
    return (
        row.id,
        row.timestamp_ms // 1000,
        row.model,
        row.path,
        row.content_type,
        row.status,
        row.cache_tokens,
        row.draft_tokens,
        row.draft_accepted_tokens,
        row.input_tokens,
        row.output_tokens,
        row.prompt_per_second,
        row.tokens_per_second,
        row.duration_ms,
        row.error,
        msgspec.json.encode(row.metadata).decode() if row.metadata else "",
    )


def ours(row: ActivityRow) -> tuple[Any, ...]:
    """The values of `row` for INSERT_OURS."""
    return (
        row.id,
        row.timestamp_ms,
        row.request_id,
        row.key,
        row.run,
        row.queue_ms,
        row.load_ms,
        row.first_byte_ms,
        row.first_token_ms,
        row.bytes_in,
        row.bytes_out,
        row.finish_reason,
        row.error_kind.value,
        int(row.speed_estimated),
    )


def row_of(values: Sequence[Any]) -> ActivityRow:
    """The row of a SELECT of `COLUMNS`; what llama-swap wrote has no half of ours."""
    base = {
        "id": values[0],
        "timestamp_ms": values[1] * 1000,
        "model": values[2],
        "path": values[3],
        "content_type": values[4],
        "status": values[5],
        "cache_tokens": values[6],
        "draft_tokens": values[7],
        "draft_accepted_tokens": values[8],
        "input_tokens": values[9],
        "output_tokens": values[10],
        "prompt_per_second": values[11],
        "tokens_per_second": values[12],
        "duration_ms": values[13],
        "error": values[14],
        "metadata": metadata_of(values[15]),
    }
    own = values[len(THEIRS) :]
    if own[0] is None:
        return ActivityRow(**base)
    base["timestamp_ms"] = own[0]
    return ActivityRow(
        **base,
        request_id=own[1],
        key=own[2],
        run=own[3],
        queue_ms=own[4],
        load_ms=own[5],
        first_byte_ms=own[6],
        first_token_ms=own[7],
        bytes_in=own[8],
        bytes_out=own[9],
        finish_reason=own[10],
        error_kind=_kind(own[11]),
        speed_estimated=bool(own[12]),
    )


def metadata_of(text: str) -> Mapping[str, str]:
    """The metadata column; what is no object of texts (another program's) is shown as text."""
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {"metadata": text}
    if not isinstance(found, dict):
        return {"metadata": text}
    return {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for key, value in found.items()
    }


def _kind(text: str) -> ErrorKind:
    try:
        return ErrorKind(text)
    except ValueError:  # a later version's
        return ErrorKind.US


def check_table(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError when `activity` is not the table we know."""
    found = {line[1] for line in connection.execute("PRAGMA table_info(activity)")}
    missing = [name for name in THEIRS if name not in found]
    if missing:
        raise sqlite3.DatabaseError(f"its table `activity` has no column {', '.join(missing)}")
    newest = connection.execute("SELECT MAX(version_id) FROM goose_db_version WHERE is_applied").fetchone()[0]
    if newest is not None and newest > MIGRATION:
        # Its later columns have defaults (llama-swap opens old files too), so ours still fits in.
        connection.execute("SELECT id FROM activity LIMIT 0")

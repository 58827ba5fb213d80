"""One SQLite database of activity, in a file or in memory; used by one thread at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hostler.clock import SYSTEM, Clock
from hostler.metrics import sql
from hostler.metrics.query import ActivityQuery
from hostler.metrics.record import ActivityRow
from hostler.metrics.speeds import step_sql
from hostler.metrics.totals import Sums

# Seconds to wait for another program's lock before it counts as a failure: llama-swap's value.
BUSY_SECONDS = 5.0
# Rows deleted in one transaction: some ten milliseconds, so that new rows do not wait.
PRUNED_AT_ONCE = 2000
# Seconds one question may take; a page takes milliseconds, a text search of a million rows about two.
QUESTION_SECONDS = 10.0
# Virtual machine steps between looks at the clock: about a millisecond.
_STEPS = 100_000
# Up to here percentiles are computed of the speeds themselves, beyond of their steps.
EXACT_ROWS = 20_000
# From here on it takes longer to sort what an index finds than to look at all rows of a page's way.
BROAD_ROWS = 50_000


class Database:
    """An open database with the tables of `sql`. Everything raises sqlite3.Error."""

    def __init__(self, path: Path | None, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self._identity: tuple[int, int] | None = None
        # autocommit: transactions are begun by name, where there are any.
        self.connection = sqlite3.connect(
            str(path) if path is not None else ":memory:",
            timeout=busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare()
        except BaseException:
            self.connection.close()
            raise

    def _prepare(self) -> None:
        if self.path is not None:
            self.connection.execute("PRAGMA journal_mode = WAL")
            # In WAL a crash of ours loses nothing; a power cut may lose the last seconds, never the file.
            self.connection.execute("PRAGMA synchronous = NORMAL")
            self._identity = identity_of(self.path)
        with Transaction(self.connection):
            for statement in sql.SCHEMA.split(";"):
                if statement.strip():
                    self.connection.execute(statement)
            sql.check_table(self.connection)

    def last_id(self) -> int:
        """The highest id ever given."""
        found = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'activity'").fetchone()
        return int(found[0]) if found else 0

    def insert(self, rows: Sequence[ActivityRow]) -> int:
        """Write `rows` in one transaction; returns how many got another id, because theirs was taken."""
        if self._identity is not None and self.path is not None and identity_of(self.path) != self._identity:
            raise sqlite3.OperationalError("the file is gone")
        with Transaction(self.connection):
            try:
                self.connection.executemany(sql.INSERT_THEIRS, map(sql.theirs, rows))
                self.connection.executemany(sql.INSERT_OURS, map(sql.ours, rows))
                return 0
            except sqlite3.IntegrityError:
                self.connection.execute("ROLLBACK")
                self.connection.execute("BEGIN IMMEDIATE")
            return sum(self._insert_one(row) for row in rows)

    def _insert_one(self, row: ActivityRow) -> bool:
        """Another program (or an earlier life) may have used the id; the row matters more than its number."""
        values = sql.theirs(row)
        try:
            self.connection.execute(sql.INSERT_THEIRS, values)
            number = row.id
        except sqlite3.IntegrityError:
            number = self.connection.execute(sql.INSERT_THEIRS, (None, *values[1:])).lastrowid or 0
        self.connection.execute(sql.INSERT_OURS, (number, *sql.ours(row)[1:]))
        return number != row.id

    def oldest(self, count: int) -> list[ActivityRow]:
        """The `count` rows of the lowest ids."""
        return self._rows("ORDER BY a.id LIMIT ?", (count,))

    def older_than(self, second: int, count: int) -> list[ActivityRow]:
        """Up to `count` rows that ended before `second` (since 1970), oldest first."""
        return self._rows("WHERE a.ts_created < ? ORDER BY a.ts_created, a.id LIMIT ?", (second, count))

    def newest(self, count: int) -> list[ActivityRow]:
        """The `count` rows of the highest ids, lowest first."""
        return self._rows("ORDER BY a.id DESC LIMIT ?", (count,))[::-1]

    def since(self, first: int) -> list[ActivityRow]:
        """Every row from the id `first` on; for databases that are bounded."""
        return self._rows("WHERE a.id >= ? ORDER BY a.id", (first,))

    def _rows(self, clause: str, values: Sequence[Any]) -> list[ActivityRow]:
        statement = (
            f"SELECT {sql.COLUMNS} FROM activity a LEFT JOIN hostler_activity h ON h.id = a.id "  # noqa: S608
            + clause  # ours: every value is bound
        )
        return [sql.row_of(values) for values in self.connection.execute(statement, values)]

    def delete(self, rows: Iterable[ActivityRow]) -> None:
        """Delete `rows` in one transaction."""
        ids = [(row.id,) for row in rows]
        with Transaction(self.connection):
            self.connection.executemany("DELETE FROM activity WHERE id = ?", ids)
            self.connection.executemany("DELETE FROM hostler_activity WHERE id = ?", ids)

    def close(self) -> None:
        """Close it; what was written stays. Any number of times."""
        self.connection.close()


class Transaction:
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK on any exception."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            try:
                self._connection.execute("COMMIT")
                return
            except sqlite3.Error:
                self._rollback()
                raise
        self._rollback()

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def identity_of(path: Path) -> tuple[int, int] | None:
    """Which file `path` is at the moment; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A second connection to the file of a Database: it reads beside the writer and never blocks it."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        timeout=BUSY_SECONDS,
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


class limited:  # noqa: N801 - used like a function: `with limited(connection):`
    """Within the block what runs longer than `seconds` is interrupted with sqlite3.OperationalError."""

    def __init__(
        self, connection: sqlite3.Connection, seconds: float = QUESTION_SECONDS, clock: Clock = SYSTEM
    ) -> None:
        self._connection = connection
        self._seconds = seconds
        self._clock = clock

    def __enter__(self) -> None:
        until = self._clock.monotonic() + self._seconds
        monotonic = self._clock.monotonic
        self._connection.set_progress_handler(lambda: int(monotonic() > until), _STEPS)

    def __exit__(self, *_: object) -> None:
        self._connection.set_progress_handler(None, 0)


# -- questions; each runs on any connection ------------------------------------------------------------------


def count(connection: sqlite3.Connection, query: ActivityQuery) -> int:
    """How many rows `query` is about."""
    clause, values = query.where()
    return int(connection.execute(f"SELECT COUNT(*) {clause}", values).fetchone()[0])


def page(connection: sqlite3.Connection, query: ActivityQuery, *, broad: bool = False) -> list[ActivityRow]:
    """The rows of the page; `broad` says that there are many to choose from.

    The ids are found first: a page far back reads no more than it shows.
    """
    clause, values = query.where(broad=broad)
    statement = (
        f"SELECT {sql.COLUMNS} FROM (SELECT a.id {clause} {query.order()} LIMIT ? OFFSET ?) p "  # noqa: S608
        "JOIN activity a ON a.id = p.id LEFT JOIN hostler_activity h ON h.id = a.id " + query.order()
    )
    offset = (query.page - 1) * query.limit
    found = connection.execute(statement, [*values, query.limit, min(offset, 2**62)])
    return [sql.row_of(line) for line in found]


def totals(connection: sqlite3.Connection, query: ActivityQuery) -> Sums:
    """The sums over the rows of `query`, counted now; without the steps."""
    clause, values = query.where()
    line = connection.execute(
        "SELECT COUNT(*), SUM(MAX(a.input_tokens, 0)), SUM(MAX(a.output_tokens, 0)), "
        f"SUM(MAX(a.cache_tokens, 0)) {clause}",
        values,
    ).fetchone()
    return Sums(line[0], line[1] or 0, line[2] or 0, line[3] or 0)


def speeds(connection: sqlite3.Connection, query: ActivityQuery) -> list[tuple[float, float]]:
    """The speeds of prompt and answer of each row of `query`."""
    clause, values = query.where()
    found = connection.execute(f"SELECT a.prompt_per_second, a.tokens_per_second {clause}", values)
    return found.fetchall()


def steps(connection: sqlite3.Connection, query: ActivityQuery, column: str) -> dict[int, int]:
    """The same as counted steps, grouped by SQLite."""
    clause, values = query.where()
    joined = "AND" if " WHERE " in clause else "WHERE"
    found = connection.execute(
        f"SELECT {step_sql('a.' + column)} AS step, COUNT(*) {clause} {joined} a.{column} > 0 GROUP BY step",
        values,
    )
    return dict(found.fetchall())

"""What the store's writer thread does: batches in, old rows out, and the way around a file that fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from hostler.clock import SYSTEM, Clock
from hostler.metrics.database import PRUNED_AT_ONCE, Database, limited
from hostler.metrics.query import ActivityQuery
from hostler.metrics.record import ActivityRow
from hostler.metrics.settings import StoreSettings
from hostler.metrics.totals import Kept, Totals

T = TypeVar("T")

# Rows kept in memory while the file fails, at least: some hours of a busy server, about 10 MB.
MIN_HELD = 10_000
# Seconds between attempts to use a failed file again.
RETRY_SECONDS = 30.0
# How often rows are looked at for their age, in seconds: retention is counted in days.
AGE_SECONDS = 600.0
DAY = 86_400


class Writer:
    """The databases and their totals. Everything runs on the writer thread, but for the constructor."""

    def __init__(self, settings: StoreSettings, file: Database | None, *, clock: Clock = SYSTEM) -> None:
        self.settings = settings
        self.retry_seconds = RETRY_SECONDS
        self.failing = file is None and settings.path is not None
        self._clock = clock
        self._file = file
        self._memory: Database | None = None if file is not None else Database(None)
        self._totals: Totals | None = Totals() if file is None else None
        self._unsaved_from = 0  # the first id that is not in the file
        self._dropped = 0  # unsaved rows that memory had no room for
        self._retry_at = clock.monotonic() + RETRY_SECONDS
        self._age_checked = float("-inf")

    @property
    def uses_file(self) -> bool:
        """Whether the rows are in the file now."""
        return self._memory is None

    def count_all(self) -> None:
        """Read the totals of a file that was opened; takes a second per million rows."""
        assert self._file is not None
        try:
            self._totals = Totals.read(self._file.connection)
        except sqlite3.Error:
            self._totals = None  # asking counts anew each time; the first write tells what is wrong

    def configure(self, settings: StoreSettings) -> None:
        """Other bounds from now on."""
        self.settings = settings
        self._age_checked = float("-inf")
        if self._memory is not None:
            self._bound_memory(self._memory)

    def totals(self, query: ActivityQuery) -> Kept | None:
        """The sums of what `query` is about; None when nobody has counted that."""
        return None if self._totals is None else self._totals.kept(query)

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Answer a question from memory."""
        assert self._memory is not None
        with limited(self._memory.connection):
            return question(self._memory.connection)

    def write(self, rows: Sequence[ActivityRow]) -> list[str]:
        """Keep `rows`; returns what somebody should be told. Raises sqlite3.Error for memory only."""
        if self._memory is not None:
            return self._write_memory(self._memory, rows)
        assert self._file is not None
        try:
            self._file.insert(rows)
        except (sqlite3.Error, OSError) as error:
            return self._leave_file(rows, error)
        if self._totals is not None:
            self._totals.add(rows)
        try:
            self._prune_file(self._file)
        except sqlite3.Error:
            pass  # the next write tells, if it is more than a moment
        return []

    def close(self) -> None:
        """Close the databases; a failed file gets a last chance."""
        if self.failing:
            self._return_to_file()
        for base in (self._file, self._memory):
            if base is not None:
                try:
                    base.close()
                except sqlite3.Error:
                    pass  # nothing can be saved any more

    # -- memory -----------------------------------------------------------------------------------------

    def _write_memory(self, memory: Database, rows: Sequence[ActivityRow]) -> list[str]:
        memory.insert(rows)
        if self._totals is not None:
            self._totals.add(rows)
        if self.failing and self._clock.monotonic() >= self._retry_at:
            said = self._return_to_file()
            if said:
                return [said]
        self._bound_memory(memory)
        return []

    def _bound_memory(self, memory: Database) -> None:
        assert self._totals is not None
        bound = max(self.settings.memory_rows, MIN_HELD) if self.failing else self.settings.memory_rows
        surplus = self._totals.requests() - bound
        if surplus > 0:
            gone = memory.oldest(surplus)
            memory.delete(gone)
            self._totals.add(gone, -1)
            if self.failing:
                self._dropped += sum(row.id >= self._unsaved_from for row in gone)

    # -- a file that fails ------------------------------------------------------------------------------

    def _leave_file(self, rows: Sequence[ActivityRow], error: Exception) -> list[str]:
        """Go on in memory, with the newest rows of the file where they can be read."""
        assert self._file is not None
        memory = Database(None)
        try:
            memory.insert(self._file.newest(self.settings.memory_rows))
        except (sqlite3.Error, OSError):
            pass  # then with the new ones alone
        memory.insert(rows)
        self._memory = memory
        self._totals = Totals.read(memory.connection)
        self._unsaved_from = rows[0].id
        self._dropped = 0
        self.failing = True
        self._retry_at = self._clock.monotonic() + self.retry_seconds
        try:
            self._file.close()
        except sqlite3.Error:
            pass  # it is broken anyway
        said = f"activity: {self.settings.path} cannot be written: {error}; "
        return [said + "the activity is kept in memory until it can"]

    def _return_to_file(self) -> str:
        """Try the file again; returns the good news, or nothing."""
        assert self._memory is not None
        assert self.settings.path is not None
        self._retry_at = self._clock.monotonic() + self.retry_seconds
        try:
            file = Database(self.settings.path, busy_seconds=1.0)
        except (sqlite3.Error, OSError):
            return ""
        try:
            rows = self._memory.since(self._unsaved_from)
            file.insert(rows)
            totals = Totals.read(file.connection)
        except (sqlite3.Error, OSError):
            file.close()
            return ""
        self._memory.close()
        self._memory = None
        self._file = file
        self._totals = totals
        self.failing = False
        lost = f"; {self._dropped} requests found no room meanwhile" if self._dropped else ""
        return f"activity: {self.settings.path} can be written again, {len(rows)} requests were added{lost}"

    # -- retention --------------------------------------------------------------------------------------

    def _prune_file(self, file: Database) -> None:
        """Delete at most `PRUNED_AT_ONCE` rows, so that the next ones need not wait; each write goes on."""
        if self.settings.max_rows and self._totals is not None:
            surplus = self._totals.requests() - self.settings.max_rows
            if surplus > 0:
                self._forget(file, file.oldest(min(surplus, PRUNED_AT_ONCE)))
        now = self._clock.monotonic()
        if self.settings.retention_days and now - self._age_checked >= AGE_SECONDS:
            border = int(self._clock.wall().timestamp() - self.settings.retention_days * DAY)
            old = file.older_than(border, PRUNED_AT_ONCE)
            self._forget(file, old)
            if len(old) < PRUNED_AT_ONCE:
                self._age_checked = now

    def _forget(self, file: Database, rows: list[ActivityRow]) -> None:
        if rows:
            file.delete(rows)
            if self._totals is not None:
                self._totals.add(rows, -1)

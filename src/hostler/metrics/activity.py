"""The store of the activity: rows go in without waiting, questions are answered from another thread.

The event loop's thread gives ids and collects rows; a writer thread puts them into the database, at the
latest `FLUSH_SECONDS` after they came. A file is read through a second connection on a thread of its own, so
a long question never keeps rows from being written. A file that cannot be used is one warning: the rows are
kept in a bounded database in memory, and go into the file when it can be written again.

Without a file rows are only put into the database when somebody asks: most are pushed out before. Until then
SQLite is not even loaded, which saves 2 MB.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hostler.clock import SYSTEM, Clock
from hostler.errors import Busy
from hostler.metrics.query import ActivityQuery
from hostler.metrics.record import ActivityRow
from hostler.metrics.settings import StoreSettings
from hostler.metrics.speeds import SpeedHistogram, histogram, steps_as_speeds
from hostler.metrics.totals import Kept, Sums
from hostler.metrics.worker import Worker

if TYPE_CHECKING:
    import sqlite3

    from hostler.metrics.database import Database
    from hostler.metrics.writer import Writer

T = TypeVar("T")

# How long a row may wait for others to be written with.
FLUSH_SECONDS = 0.5
# This many are written at once without waiting for more; a transaction of so many takes some milliseconds.
FLUSH_ROWS = 500
# Rows on their way to the database: several seconds of the busiest server, about 20 MB.
MAX_OUTSTANDING = 20_000
# Questions that wait: beyond it, more would only be answered too late.
MAX_QUESTIONS = 32
# How long a question waits until what came before it is written; a locked file must not block it for ever.
FRESH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page, and how many there are in all."""

    rows: list[ActivityRow]
    total: int


@dataclass(frozen=True, slots=True)
class Stats:
    """Sums over rows, and the histograms of their speeds above 0 (None without any)."""

    totals: Sums
    prompt: SpeedHistogram | None
    answer: SpeedHistogram | None


class ActivityStore:
    """Every finished request, in memory or in a file. Opens the file at once and never raises for it.

    Only the event loop's thread may call it. `on_problem(text)` is told, in the same thread, what somebody
    has to look after; `on_news(text)` that it is over.
    """

    def __init__(
        self,
        settings: StoreSettings,
        *,
        on_problem: Callable[[str], None],
        on_news: Callable[[str], None] | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._on_problem = on_problem
        self._on_news = on_news or on_problem
        self.before_reading: Callable[[], None] = lambda: None  # whoever holds rows back gives them here
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clock = clock
        self._settings = settings
        self._pending: deque[ActivityRow] = deque()
        self._lazy = settings.path is None
        self._outstanding = 0
        self._flush: asyncio.TimerHandle | None = None
        self._closed = False
        self.lost = 0  # rows that never got into a database
        self._file, problem = _open(settings.path)
        self._next_id = self._first_id()
        self._made: Writer | None = None
        self._work = Worker("activity writer", bound=MAX_QUESTIONS)
        self._reading = Worker("activity reader", bound=MAX_QUESTIONS)
        self._reader: sqlite3.Connection | None = None
        if problem:
            on_problem(problem)
        if self._file is not None:
            self._work.submit(self._writer.count_all, urgent=True)

    def _first_id(self) -> int:
        if self._file is not None:
            return self._file.last_id() + 1
        # What numbers a file holds that cannot be opened nobody knows: those of the clock are beyond them.
        return 1 if self._settings.path is None else int(self._clock.wall().timestamp() * 1000)

    def __repr__(self) -> str:
        where = self._settings.path or "memory"
        return f"<ActivityStore in {where} | next {self._next_id}, {self._outstanding} to write>"

    @property
    def _writer(self) -> Writer:
        if self._made is None:
            from hostler.metrics.writer import Writer

            self._made = Writer(self._settings, self._file, clock=self._clock)
        return self._made

    # -- writing ----------------------------------------------------------------------------------------

    def next_id(self) -> int:
        """The id of the next row; each one once, ever growing."""
        number = self._next_id
        self._next_id += 1
        return number

    def add(self, row: ActivityRow) -> None:
        """Keep `row`, whose id is from `next_id`. Never waits and never raises."""
        if self._closed or (self._outstanding >= MAX_OUTSTANDING and self._is_full()):
            self.lost += 1
            if self.lost == 1:
                self._on_problem("activity: requests come faster than they can be recorded; some are not")
            return
        self._pending.append(row)
        if self._lazy:
            if len(self._pending) > self._settings.memory_rows:
                self._pending.popleft()  # it would be deleted as soon as the others are written
            return
        self._outstanding += 1
        if len(self._pending) >= FLUSH_ROWS:
            self._send()
        elif self._flush is None:
            self._loop = asyncio.get_running_loop()
            self._flush = self._loop.call_later(FLUSH_SECONDS, self._send)

    def add_all(self, rows: Sequence[ActivityRow]) -> None:
        """`add` for each of `rows`."""
        if self._closed or not self._lazy or self._is_full():
            for row in rows:
                self.add(row)
            return
        self._pending.extend(rows)
        for _ in range(len(self._pending) - self._settings.memory_rows):
            self._pending.popleft()

    def _is_full(self) -> bool:
        """In memory all rows are on their way when somebody asks, and they are bounded already."""
        return not self._lazy or self._outstanding >= MAX_OUTSTANDING + self._settings.memory_rows

    def configure(self, settings: StoreSettings) -> None:
        """Other bounds from now on; the path stays, a store for another file is another store."""
        self._settings = settings = replace(settings, path=self._settings.path)
        if self._made is not None:
            writer = self._made
            self._work.submit(lambda: writer.configure(settings), urgent=True)

    async def close(self) -> None:
        """Write what is left and close the database; rows that come later are lost. Any number of times."""
        if self._closed:
            return
        if self._made is not None:
            self._send()
        self._closed = True
        # The reader first: the last to close puts everything into the one file, and the reader may not write.
        if self._reader is not None:
            self._reader.interrupt()
        read = self._reading.submit(self._close_reader, urgent=True)
        self._reading.close()
        await asyncio.wrap_future(read)
        last = self._work.submit(self._made.close, urgent=True) if self._made is not None else None
        self._work.close()
        if last is not None:
            await asyncio.wrap_future(last)

    def _send(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if not self._pending:
            return
        rows = list(self._pending)
        self._pending.clear()
        if self._lazy:
            self._outstanding += len(rows)
        loop = self._loop = asyncio.get_running_loop()
        writer = self._writer

        def written(future: Future[list[str]]) -> None:
            try:
                loop.call_soon_threadsafe(self._written, len(rows), future)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                pass

        self._work.submit(lambda: writer.write(rows), urgent=True).add_done_callback(written)

    def _written(self, count: int, future: Future[list[str]]) -> None:
        self._outstanding -= count
        error = future.exception()
        if error is not None:
            self.lost += count
            self._on_problem(f"activity: {count} rows could not be kept: {error}")
            return
        for text in future.result():
            failing = self._made is not None and self._made.failing
            (self._on_problem if failing else self._on_news)(text)

    # -- reading ----------------------------------------------------------------------------------------

    async def page(self, query: ActivityQuery) -> Page:
        """The page that `query` asks for. Raises Busy when too many ask or the question takes too long."""
        from hostler.metrics import database

        total = await self._kept_total(query)
        if total == 0:
            return Page([], 0)

        def ask(connection: sqlite3.Connection) -> Page:
            found = database.count(connection, query) if total is None else total
            broad = total is not None and total > database.BROAD_ROWS
            return Page(database.page(connection, query, broad=broad), found)

        return await self._ask(ask)

    async def stats(self, query: ActivityQuery) -> Stats:
        """Sums and speeds of the rows that `query` is about.

        While there are at most `database.EXACT_ROWS` rows, percentiles are those of the speeds themselves,
        beyond that they are off by up to half a percent. Raises Busy.
        """
        from hostler.metrics import database

        kept = await self._kept(query)
        if kept is not None and (kept.of > database.EXACT_ROWS or not kept.sums.requests):
            return _stats_of_steps(kept.sums)

        def ask(connection: sqlite3.Connection) -> Stats:
            totals = kept.sums if kept is not None else database.totals(connection, query)
            if totals.requests > database.EXACT_ROWS:
                totals.prompt_steps.update(database.steps(connection, query, "prompt_per_second"))
                totals.answer_steps.update(database.steps(connection, query, "tokens_per_second"))
                return _stats_of_steps(totals)
            speeds = database.speeds(connection, query)
            prompt, answer = (histogram((pair[side], 1) for pair in speeds) for side in (0, 1))
            return Stats(totals, prompt, answer)

        return await self._ask(ask)

    async def rows(self, query: ActivityQuery) -> list[ActivityRow]:
        """The rows of the page alone, without counting the others. Raises Busy.

        For whoever goes through all of them page by page: each begins where the last one ended.
        """
        from hostler.metrics import database

        return await self._ask(lambda connection: database.page(connection, query, broad=True))

    async def _kept_total(self, query: ActivityQuery) -> int | None:
        kept = await self._kept(query)
        return None if kept is None else kept.sums.requests

    async def _kept(self, query: ActivityQuery) -> Kept | None:
        """The kept sums when they are those of `query`; None when somebody has to count."""
        self.before_reading()
        self._send()
        if not query.only_groups:
            return None
        writer = self._writer
        return await self._soon(self._work.submit(lambda: writer.totals(query)))

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        import sqlite3

        self.before_reading()
        self._send()
        writer = self._writer
        in_file = await self._soon(self._work.submit(lambda: writer.uses_file))
        if in_file is None and self._file is not None:
            in_file = True
        try:
            if in_file:
                return await asyncio.wrap_future(self._reading.submit(lambda: self._read(question)))
            return await asyncio.wrap_future(self._work.submit(lambda: writer.ask(question)))
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise Busy("the question takes too long: ask for fewer rows") from error
            raise Busy(f"the activity cannot be read: {error}") from error
        except sqlite3.Error as error:
            raise Busy(f"the activity cannot be read: {error}") from error

    async def _soon(self, future: Future[T]) -> T | None:
        """What the writer says once it has done what came before; None when that takes too long."""
        try:
            async with asyncio.timeout(FRESH_SECONDS):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            return None

    def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        import sqlite3

        from hostler.metrics import database

        if self._reader is None:
            assert self._settings.path is not None
            self._reader = database.open_for_reading(self._settings.path)
        try:
            with database.limited(self._reader):
                return question(self._reader)
        except sqlite3.Error:
            self._close_reader()  # the file may be another one by now
            raise

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _open(path: Path | None) -> tuple[Database | None, str]:
    if path is None:
        return None, ""
    import sqlite3

    from hostler.metrics.database import Database

    try:
        # Before the server listens, so that ids are known; a file somebody holds is not waited for long.
        return Database(path, busy_seconds=1.0), ""
    except (sqlite3.Error, OSError) as error:
        return None, (
            f"activity: {path} cannot be used: {error}; the activity is kept in memory until it can"
        )


def _stats_of_steps(totals: Sums) -> Stats:
    return Stats(
        totals,
        histogram(steps_as_speeds(totals.prompt_steps)),
        histogram(steps_as_speeds(totals.answer_steps)),
    )

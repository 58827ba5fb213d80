"""Sums over the activity, kept up to date row by row, so that nobody has to read a million rows for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hostler.metrics.query import ActivityQuery
from hostler.metrics.record import ActivityRow
from hostler.metrics.speeds import step_of, step_sql

if TYPE_CHECKING:
    import sqlite3

# What a group of rows has in common: model, status, path, key. A configuration makes some hundreds of them.
Group = tuple[str, int, str, str]
_GROUP = "a.model_id, a.resp_status_code, a.req_path, COALESCE(h.key_name, '')"
_FROM = "FROM activity a LEFT JOIN hostler_activity h ON h.id = a.id"
# More than any configuration makes: a file of another program, or one of many years. Then only models are
# told apart.
MAX_GROUPS = 5000


def _steps(column: str) -> str:
    return (
        f"SELECT {_GROUP}, {step_sql('a.' + column)} AS step, COUNT(*) {_FROM} "
        f"WHERE a.{column} > 0 GROUP BY 1, 2, 3, 4, step"
    )


_SUMS = (
    f"SELECT {_GROUP}, COUNT(*), SUM(MAX(a.input_tokens, 0)), SUM(MAX(a.output_tokens, 0)), "
    f"SUM(MAX(a.cache_tokens, 0)) {_FROM} GROUP BY 1, 2, 3, 4"
)


@dataclass(slots=True)
class Sums:
    """The sums of one group, or of several together; the steps are those of `speeds`."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_tokens: int = 0
    prompt_steps: Counter[int] = field(default_factory=Counter)
    answer_steps: Counter[int] = field(default_factory=Counter)

    def merge(self, other: Sums) -> None:
        """Count what `other` counts too."""
        self.requests += other.requests
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cache_tokens += other.cache_tokens
        self.prompt_steps.update(other.prompt_steps)
        self.answer_steps.update(other.answer_steps)


@dataclass(frozen=True, slots=True)
class Kept:
    """The sums of what somebody asks about, and how many rows there are in all."""

    sums: Sums
    of: int


class Totals:
    """The sums of every group. Used by one thread at a time."""

    def __init__(self) -> None:
        self._groups: dict[Group, Sums] = {}
        self._coarse = False

    def add(self, rows: Iterable[ActivityRow], sign: int = 1) -> None:
        """Count `rows`; with `sign` -1, uncount them."""
        for row in rows:
            group = self._group_of(row)
            sums = self._groups.get(group)
            if sums is None:
                sums = self._groups[group] = Sums()
            sums.requests += sign
            sums.input_tokens += sign * max(row.input_tokens, 0)
            sums.output_tokens += sign * max(row.output_tokens, 0)
            sums.cache_tokens += sign * max(row.cache_tokens, 0)
            _count(sums.prompt_steps, row.prompt_per_second, sign)
            _count(sums.answer_steps, row.tokens_per_second, sign)
            if sums.requests <= 0:
                del self._groups[group]
        if len(self._groups) > MAX_GROUPS:
            self._coarsen()

    def _group_of(self, row: ActivityRow) -> Group:
        return (row.model, 0, "", "") if self._coarse else (row.model, row.status, row.path, row.key)

    def _coarsen(self) -> None:
        self._coarse = True
        groups, self._groups = self._groups, {}
        for (model, *_), sums in groups.items():
            self._groups.setdefault((model, 0, "", ""), Sums()).merge(sums)

    def kept(self, query: ActivityQuery) -> Kept | None:
        """What is known of the rows that `query` is about; None when it asks for more than is told apart."""
        sums = self.of(query)
        return None if sums is None else Kept(sums, self.requests())

    def of(self, query: ActivityQuery) -> Sums | None:
        """The sums of what `query` is about, a copy; None as for `kept`."""
        if not query.only_groups or (self._coarse and not query.only_models):
            return None
        result = Sums()
        for group, sums in self._groups.items():
            if query.takes(*group):
                result.merge(sums)
        return result

    def requests(self) -> int:
        """How many rows are counted."""
        return sum(sums.requests for sums in self._groups.values())

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Totals:
        """Count every row of the table. The grouping is SQLite's, so other threads go on meanwhile."""
        totals = cls()
        for *group, count, input_tokens, output_tokens, cache_tokens in connection.execute(_SUMS):
            totals._groups[_named(group)] = Sums(count, input_tokens, output_tokens, cache_tokens)
        for *group, step, count in connection.execute(_steps("prompt_per_second")):
            totals._groups[_named(group)].prompt_steps[step] = count
        for *group, step, count in connection.execute(_steps("tokens_per_second")):
            totals._groups[_named(group)].answer_steps[step] = count
        if len(totals._groups) > MAX_GROUPS:
            totals._coarsen()
        return totals


def _named(values: list[Any]) -> Group:
    model, status, path, key = values
    return model, status, path, key


def _count(steps: Counter[int], speed: float, sign: int) -> None:
    if speed > 0:
        step = step_of(speed)
        steps[step] += sign
        if steps[step] <= 0:
            del steps[step]

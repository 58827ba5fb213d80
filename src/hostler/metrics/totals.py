"""Sums over the activity, kept up to date row by row, so that nobody has to read a million rows for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hostler.metrics.record import ActivityRow
from hostler.metrics.speeds import step_of, step_sql

if TYPE_CHECKING:
    import sqlite3

_SUMS = """SELECT model_id, COUNT(*), SUM(MAX(input_tokens, 0)), SUM(MAX(output_tokens, 0)),
    SUM(MAX(cache_tokens, 0)) FROM activity GROUP BY model_id"""


def _steps(column: str) -> str:
    return (
        f"SELECT model_id, {step_sql(column)} AS step, COUNT(*) FROM activity "  # noqa: S608 - our own names
        f"WHERE {column} > 0 GROUP BY model_id, step"
    )


@dataclass(slots=True)
class ModelTotals:
    """The sums of one model, or of several together; the steps are those of `speeds`."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_tokens: int = 0
    prompt_steps: Counter[int] = field(default_factory=Counter)
    answer_steps: Counter[int] = field(default_factory=Counter)

    def merge(self, other: ModelTotals) -> None:
        """Count what `other` counts too."""
        self.requests += other.requests
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cache_tokens += other.cache_tokens
        self.prompt_steps.update(other.prompt_steps)
        self.answer_steps.update(other.answer_steps)


class Totals:
    """The sums of every model. Used by one thread at a time."""

    def __init__(self) -> None:
        self._models: dict[str, ModelTotals] = {}

    def add(self, rows: Iterable[ActivityRow], sign: int = 1) -> None:
        """Count `rows`; with `sign` -1, uncount them."""
        for row in rows:
            totals = self._models.setdefault(row.model, ModelTotals())
            totals.requests += sign
            totals.input_tokens += sign * max(row.input_tokens, 0)
            totals.output_tokens += sign * max(row.output_tokens, 0)
            totals.cache_tokens += sign * max(row.cache_tokens, 0)
            _count(totals.prompt_steps, row.prompt_per_second, sign)
            _count(totals.answer_steps, row.tokens_per_second, sign)
            if totals.requests <= 0:
                del self._models[row.model]

    def of(self, models: Iterable[str] = ()) -> ModelTotals:
        """The sums of `models` together, a copy; of all models when none is named."""
        result = ModelTotals()
        for model in set(models) or self._models:
            found = self._models.get(model)
            if found is not None:
                result.merge(found)
        return result

    def requests(self) -> int:
        """How many rows are counted."""
        return sum(totals.requests for totals in self._models.values())

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> Totals:
        """Count every row of the table. The grouping is SQLite's, so other threads go on meanwhile."""
        totals = cls()
        for model, count, input_tokens, output_tokens, cache_tokens in connection.execute(_SUMS):
            totals._models[model] = ModelTotals(count, input_tokens, output_tokens, cache_tokens)
        for model, step, count in connection.execute(_steps("prompt_per_second")):
            totals._models[model].prompt_steps[step] = count
        for model, step, count in connection.execute(_steps("tokens_per_second")):
            totals._models[model].answer_steps[step] = count
        return totals


def _count(steps: Counter[int], speed: float, sign: int) -> None:
    if speed > 0:
        step = step_of(speed)
        steps[step] += sign
        if steps[step] <= 0:
            del steps[step]

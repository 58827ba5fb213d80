"""What the finished requests of one model add up to, many at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter as Counted
from operator import attrgetter
from typing import TYPE_CHECKING

from hostler.metrics.record import ActivityRow, ErrorKind

if TYPE_CHECKING:
    from hostler.metrics.families import RequestFamilies
    from hostler.metrics.registry import CounterSeries, Histogram, HistogramSeries

_outcome = attrgetter("status", "error_kind")
_bytes_in, _bytes_out = attrgetter("bytes_in"), attrgetter("bytes_out")
_duration, _queue, _load = attrgetter("duration_ms"), attrgetter("queue_ms"), attrgetter("load_ms")
_first_byte, _first_token = attrgetter("first_byte_ms"), attrgetter("first_token_ms")
_speed = attrgetter("tokens_per_second")
_TOKENS = (
    ("input", attrgetter("input_tokens")),
    ("output", attrgetter("output_tokens")),
    ("cached", attrgetter("cache_tokens")),
    ("drafted", attrgetter("draft_tokens")),
    ("draft_accepted", attrgetter("draft_accepted_tokens")),
)


class ModelSeries:
    """The series of one model, looked up once; those of a kind that it never has are not made.

    `rows` are still to be counted. For many together each column is looked at once, by functions in C.
    """

    __slots__ = ("_bytes_in", "_bytes_out", "_families", "_model", "_outcomes", "_spans", "_tokens", "rows")

    def __init__(self, families: RequestFamilies, model: str) -> None:
        self.rows: list[ActivityRow] = []
        self._families = families
        self._model = model
        self._bytes_in = families.bytes.series(model, "in")
        self._bytes_out = families.bytes.series(model, "out")
        self._outcomes: dict[tuple[int, ErrorKind], CounterSeries] = {}
        self._tokens: dict[str, CounterSeries] = {}
        self._spans: dict[Histogram, HistogramSeries] = {}

    def settle(self) -> None:
        """Count the rows that wait."""
        rows, self.rows = self.rows, []
        outcomes = Counted(map(_outcome, rows))
        for outcome, count in outcomes.items():
            (self._outcomes.get(outcome) or self._new_outcome(outcome)).value += count
        self._bytes_in.value += sum(map(_bytes_in, rows))
        self._bytes_out.value += sum(map(_bytes_out, rows))
        for kind, tokens in _TOKENS:
            found = sum([count for count in map(tokens, rows) if count > 0])
            if found:
                (self._tokens.get(kind) or self._new_tokens(kind)).value += found
        self._settle_spans(rows, any(kind is ErrorKind.CANCELLED for _, kind in outcomes))

    def _new_outcome(self, outcome: tuple[int, ErrorKind]) -> CounterSeries:
        status, kind = outcome
        labels = self._model, status_class(status), kind.value or "none"
        found = self._outcomes[outcome] = self._families.requests.series(*labels)
        return found

    def _new_tokens(self, kind: str) -> CounterSeries:
        found = self._tokens[kind] = self._families.tokens.series(self._model, kind)
        return found

    def _settle_spans(self, rows: list[ActivityRow], cancelled: bool) -> None:
        families = self._families
        ended = [row for row in rows if row.error_kind is not ErrorKind.CANCELLED] if cancelled else rows
        self._observe(families.duration, sorted(map(_duration, ended)), 0)
        self._observe(families.queue, sorted(map(_queue, rows)), 0)
        self._observe(families.first_byte, sorted(map(_first_byte, rows)), 0)
        self._observe(families.first_token, sorted(map(_first_token, rows)), 0)
        self._observe(families.load_wait, sorted(map(_load, rows)), 1)
        speeds = sorted(map(_speed, rows))
        if speeds[-1] > 0:
            self._span(families.speed).observe_sorted(speeds[bisect_right(speeds, 0) :])

    def _observe(self, family: Histogram, milliseconds: list[int], least: int) -> None:
        """Count sorted `milliseconds` in seconds, from `least` on."""
        if milliseconds and milliseconds[-1] >= least:
            spans = milliseconds[bisect_left(milliseconds, least) :]
            self._span(family).observe_sorted([span / 1000 for span in spans])

    def _span(self, family: Histogram) -> HistogramSeries:
        found = self._spans.get(family)
        if found is None:
            found = self._spans[family] = family.series(self._model)
        return found


def status_class(status: int) -> str:
    """`2xx` and so on; `none` when there was no answer."""
    return f"{status // 100}xx" if 100 <= status < 600 else "none"

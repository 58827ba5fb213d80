"""Numbers for Prometheus: counters, gauges and histograms, and their text form (version 0.0.4).

A family's label values come from closed sets (configured models, kinds, classes), and each family has a
bound on its series besides: whatever a client sends, the page stays small.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Series of one family; a hundred models times a handful of kinds. More are counted as `other`.
MAX_SERIES = 2000
OTHER = "other"

Labels = tuple[str, ...]


class Family(ABC):
    """One metric with its help text and the names of its labels."""

    kind = "untyped"
    before_reading: Callable[[], None] = staticmethod(lambda: None)
    """Whoever counts later than things happen does it now."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help_text
        self.labels = tuple(labels)

    @abstractmethod
    def lines(self) -> Iterable[str]:
        """The samples in text form."""

    def _bounded(self, labels: Labels, known: Mapping[Labels, object]) -> Labels:
        """`labels`, or `other` in place of each when there are too many series."""
        assert len(labels) == len(self.labels), f"{self.name} has the labels {self.labels}"
        if labels in known or len(known) < MAX_SERIES:
            return labels
        return (OTHER,) * len(labels)


class CounterSeries:
    """One number that only grows; whoever holds it writes `value`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Counter(Family):
    """Numbers that only grow."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self._series: dict[Labels, CounterSeries] = {}
        if not labels:
            self.series()

    def series(self, *labels: str) -> CounterSeries:
        """The series of `labels` (in the order of the family), for who adds to it often."""
        key = self._bounded(labels, self._series)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = CounterSeries()
        return found

    def add(self, amount: float = 1, *labels: str) -> None:
        """Grow the series of `labels`."""
        self.series(*labels).value += amount

    def value(self, *labels: str) -> float:
        """What the series of `labels` has come to."""
        self.before_reading()
        found = self._series.get(labels)
        return found.value if found is not None else 0.0

    def lines(self) -> Iterable[str]:
        self.before_reading()
        for labels, series in self._series.items():
            yield sample(self.name, self.labels, labels, series.value)


class Gauge(Family):
    """Numbers that are asked for when the page is: `read()` gives (label values, value) pairs."""

    kind = "gauge"

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        *,
        read: Callable[[], Iterable[tuple[Labels, float]]],
        counter: bool = False,
    ) -> None:
        super().__init__(name, help_text, labels)
        self._read = read
        if counter:
            self.kind = "counter"

    def lines(self) -> Iterable[str]:
        seen: set[Labels] = set()
        for labels, value in self._read():
            if labels not in seen and len(seen) < MAX_SERIES:
                seen.add(labels)
                yield sample(self.name, self.labels, labels, value)


class HistogramSeries:
    """How often values fell below each of some bounds, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def observe_sorted(self, values: Sequence[float]) -> None:
        """Count `values`, of which there is one at least."""
        bounds, counts = self._bounds, self.counts
        at, last = bisect_left(bounds, values[0]), bisect_left(bounds, values[-1])
        begin = 0
        while at < last:
            end = bisect_right(values, bounds[at], begin)
            counts[at] += end - begin
            begin = end
            at += 1
        counts[last] += len(values) - begin
        self.total += sum(values)


class Histogram(Family):
    """Series of values, each with its own counts below the same `bounds`."""

    kind = "histogram"

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str] = (), *, bounds: Sequence[float]
    ) -> None:
        super().__init__(name, help_text, labels)
        self._bounds = tuple(bounds)
        self._series: dict[Labels, HistogramSeries] = {}

    def series(self, *labels: str) -> HistogramSeries:
        """The series of `labels` (in the order of the family), for who adds to it often."""
        key = self._bounded(labels, self._series)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = HistogramSeries(self._bounds)
        return found

    def observe(self, value: float, *labels: str) -> None:
        """Count `value`."""
        self.series(*labels).observe(value)

    def count(self, *labels: str) -> int:
        """How many values the series of `labels` has seen."""
        self.before_reading()
        found = self._series.get(labels)
        return sum(found.counts) if found is not None else 0

    def lines(self) -> Iterable[str]:
        self.before_reading()
        names = (*self.labels, "le")
        for labels, series in self._series.items():
            below = 0
            for bound, count in zip((*self._bounds, math.inf), series.counts, strict=True):
                below += count
                yield sample(f"{self.name}_bucket", names, (*labels, number(bound)), below)
            yield sample(f"{self.name}_sum", self.labels, labels, series.total)
            yield sample(f"{self.name}_count", self.labels, labels, below)


class Registry:
    """All families of one Hostler, in the order of the page."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def add(self, family: Family) -> None:
        """Add `family`; its name must be new."""
        assert family.name not in self._families, family.name
        self._families[family.name] = family

    def families(self) -> list[Family]:
        """Every family."""
        return list(self._families.values())

    def render(self) -> str:
        """The page. A family without samples is left out, as Prometheus' own libraries do."""
        out: list[str] = []
        for family in self._families.values():
            lines = list(family.lines())
            if lines:
                out.append(f"# HELP {family.name} {escape_help(family.help)}")
                out.append(f"# TYPE {family.name} {family.kind}")
                out += lines
        return "\n".join(out) + "\n"


def sample(name: str, names: Sequence[str], values: Sequence[str], value: float) -> str:
    """One line of the page."""
    if not names:
        return f"{name} {number(value)}"
    pairs = ",".join(f'{key}="{escape(text)}"' for key, text in zip(names, values, strict=True))
    return f"{name}{{{pairs}}} {number(value)}"


def number(value: float) -> str:
    """A value as Prometheus reads it; whole numbers without a fraction."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(value))


def escape(text: str) -> str:
    """A label value within its quotes."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def escape_help(text: str) -> str:
    """A help text on its line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")

"""Numbers for Prometheus: counters, gauges and histograms, and their text form (version 0.0.4).

A family's label values come from closed sets (configured models, kinds, classes), and each family has a
bound on its series besides: whatever a client sends, the page stays small.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Series of one family; a hundred models times a handful of kinds. More are counted as `other`.
MAX_SERIES = 2000
OTHER = "other"

Labels = tuple[str, ...]


class Family(ABC):
    """One metric with its help text and the names of its labels."""

    kind = "untyped"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help_text
        self.labels = tuple(labels)

    @abstractmethod
    def lines(self) -> Iterable[str]:
        """The samples in text form."""

    def bounded(self, labels: Labels, known: Mapping[Labels, object]) -> Labels:
        """`labels`, or `other` in place of each when there are too many series."""
        assert len(labels) == len(self.labels), f"{self.name} has the labels {self.labels}"
        if labels in known or len(known) < MAX_SERIES:
            return labels
        return (OTHER,) * len(labels)


class Counter(Family):
    """A number that only grows."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, amount: float = 1, *labels: str) -> None:
        """Grow the series of `labels` (in the order of the family)."""
        key = self.bounded(labels, self._values)
        self._values[key] = self._values.get(key, 0.0) + amount

    def value(self, *labels: str) -> float:
        """What the series of `labels` has come to."""
        return self._values.get(labels, 0.0)

    def lines(self) -> Iterable[str]:
        for labels, value in self._values.items():
            yield sample(self.name, self.labels, labels, value)


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


class Histogram(Family):
    """How often values fell below each of `bounds`, and their sum."""

    kind = "histogram"

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str] = (), *, bounds: Sequence[float]
    ) -> None:
        super().__init__(name, help_text, labels)
        self._bounds = tuple(bounds)
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count `value`."""
        key = self.bounded(labels, self._series)
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = ([0] * (len(self._bounds) + 1), [0.0])
        counts, total = found
        counts[bisect_left(self._bounds, value)] += 1
        total[0] += value

    def count(self, *labels: str) -> int:
        """How many values the series of `labels` has seen."""
        found = self._series.get(labels)
        return sum(found[0]) if found else 0

    def lines(self) -> Iterable[str]:
        names = (*self.labels, "le")
        for labels, (counts, total) in self._series.items():
            below = 0
            for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
                below += count
                yield sample(f"{self.name}_bucket", names, (*labels, number(bound)), below)
            yield sample(f"{self.name}_sum", self.labels, labels, total[0])
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

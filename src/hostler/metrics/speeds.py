"""Many speeds, counted: histograms and percentiles of tokens per second.

A speed is kept exactly, or as one of at most 1000 steps per decade (`step_of`), which is off by at most
half a percent from 1 token per second on. Counted steps can be added and taken away, so that they follow a
table of a million rows; SQL computes the same steps (`STEP_SQL`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# How many steps one token per second has, by decade: below 10, 100, 1000, ...
_SCALES = (100.0, 10.0, 1.0, 0.1, 0.01, 0.001)
_PER_DECADE = 1000
MIN_BINS, MAX_BINS = 5, 20


def step_of(speed: float) -> int:
    """The step a speed above 0 falls in."""
    for decade, scale in enumerate(_SCALES):
        if speed < _PER_DECADE / scale:
            return decade * _PER_DECADE + min(int(speed * scale), _PER_DECADE - 1)
    return len(_SCALES) * _PER_DECADE - 1


def speed_of(step: int) -> float:
    """The middle of a step."""
    decade, index = divmod(step, _PER_DECADE)
    return (index + 0.5) / _SCALES[decade]


def step_sql(column: str) -> str:
    """An SQL expression that gives `step_of(column)`; the arithmetic is the same to the bit."""
    cases = " ".join(
        f"WHEN {column} < {_PER_DECADE / scale!r} "
        f"THEN {decade * _PER_DECADE} + MIN(CAST({column} * {scale!r} AS INTEGER), {_PER_DECADE - 1})"
        for decade, scale in enumerate(_SCALES)
    )
    return f"CASE {cases} ELSE {len(_SCALES) * _PER_DECADE - 1} END"


@dataclass(frozen=True, slots=True)
class SpeedHistogram:
    """Equal bins from `min` to `max` and three percentiles; `bin_size` is 0 when all speeds are the same."""

    bins: list[int]
    min: float
    max: float
    bin_size: float
    p50: float
    p95: float
    p99: float

    def shape(self) -> dict[str, object]:
        """As llama-swap's clients read it."""
        return {
            "bins": self.bins,
            "min": self.min,
            "max": self.max,
            "binSize": self.bin_size,
            "p50": self.p50,
            "p95": self.p95,
            "p99": self.p99,
        }


def histogram(counted: Iterable[tuple[float, int]]) -> SpeedHistogram | None:
    """The histogram of (speed, how often) pairs; speeds of 0 or less do not count. None without any."""
    pairs = sorted((speed, count) for speed, count in counted if speed > 0 and count > 0)
    if not pairs:
        return None
    total = sum(count for _, count in pairs)
    low, high = pairs[0][0], pairs[-1][0]
    p50, p95, p99 = percentiles(pairs, total, (0.50, 0.95, 0.99))
    if low == high:
        return SpeedHistogram([total], low, high, 0.0, p50, p95, p99)
    count_of_bins = min(max(math.ceil(math.log2(total)) + 1, MIN_BINS), MAX_BINS)
    size = (high - low) / count_of_bins
    bins = [0] * count_of_bins
    for speed, count in pairs:
        # Two neighbouring numbers have no room for bins between them: then `size` may be 0.
        index = int((speed - low) / size) if size else 0
        bins[min(index, count_of_bins - 1)] += count
    return SpeedHistogram(bins, low, high, size, p50, p95, p99)


def percentiles(pairs: list[tuple[float, int]], total: int, wanted: tuple[float, ...]) -> tuple[float, ...]:
    """Percentiles of sorted (value, how often) pairs, interpolated between neighbours."""
    ranks = [fraction * (total - 1) for fraction in wanted]
    found: list[float] = []
    passed = 0  # values before the current pair
    at = 0
    for rank in ranks:
        lower = math.floor(rank)
        while passed + pairs[at][1] <= lower:
            passed += pairs[at][1]
            at += 1
        value = pairs[at][0]
        if lower + 1 < total and passed + pairs[at][1] <= lower + 1:
            value += (pairs[at + 1][0] - value) * (rank - lower)
        found.append(value)
    return tuple(found)


def steps_as_speeds(steps: Mapping[int, int]) -> Iterable[tuple[float, int]]:
    """Counted steps as counted speeds."""
    return ((speed_of(step), count) for step, count in steps.items())

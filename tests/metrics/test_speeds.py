"""What must hold: counted steps tell what the speeds themselves would have told."""

from __future__ import annotations

import math
import sqlite3
import statistics
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from hostler.metrics.speeds import histogram, percentiles, speed_of, step_of, step_sql, steps_as_speeds

SPEEDS = st.floats(0.001, 2_000_000, allow_nan=False)


@given(st.lists(SPEEDS, min_size=1, max_size=30))
def test_sql_and_python_take_the_same_steps(speeds: list[float]) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (speed REAL)")
        connection.executemany("INSERT INTO t VALUES (?)", [(speed,) for speed in speeds])
        found = connection.execute(f"SELECT {step_sql('speed')} FROM t ORDER BY rowid").fetchall()

    assert [line[0] for line in found] == [step_of(speed) for speed in speeds]


@given(st.floats(1, 900_000))
def test_a_step_is_half_a_percent_wide(speed: float) -> None:
    assert math.isclose(speed_of(step_of(speed)), speed, rel_tol=0.00501)


@given(st.lists(SPEEDS, min_size=1, max_size=200))
def test_a_histogram_counts_everything_once(speeds: list[float]) -> None:
    found = histogram((speed, 1) for speed in speeds)

    assert found is not None
    assert sum(found.bins) == len(speeds)
    assert (found.min, found.max) == (min(speeds), max(speeds))
    if found.bin_size:
        assert len(found.bins) == min(max(math.ceil(math.log2(len(speeds))) + 1, 5), 20)
    assert found.min <= found.p50 <= found.p95 <= found.p99 <= found.max


@given(st.lists(SPEEDS, min_size=2, max_size=100))
def test_percentiles_are_those_of_the_list(speeds: list[float]) -> None:
    counted = sorted((speed, speeds.count(speed)) for speed in set(speeds))
    expected = statistics.quantiles(speeds, n=100, method="inclusive")

    found = percentiles(counted, len(speeds), (0.50, 0.95, 0.99))

    for value, wanted in zip(found, (expected[49], expected[94], expected[98]), strict=True):
        assert math.isclose(value, wanted, rel_tol=1e-9)


def test_nothing_and_all_the_same() -> None:
    assert histogram([]) is None
    assert histogram([(0.0, 4), (-1.0, 2)]) is None
    same = histogram([(40.0, 3)])
    assert same is not None
    assert same.shape() == {"bins": [3], "min": 40.0, "max": 40.0, "binSize": 0.0,
                            "p50": 40.0, "p95": 40.0, "p99": 40.0}  # fmt: skip


def test_neighbouring_numbers_have_one_bin() -> None:
    low = 5e-324
    found = histogram([(low, 1), (low * 2, 1)])

    assert found is not None
    assert sum(found.bins) == 2


def test_steps_give_a_histogram() -> None:
    found = histogram(steps_as_speeds({step_of(10.0): 5, step_of(100.0): 5}))

    assert found is not None
    assert found.bins == [5, 0, 0, 0, 5]

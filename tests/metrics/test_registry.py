"""What must hold: the page is what Prometheus reads, whatever is in a label, and stays small."""

from __future__ import annotations

import math
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostler.metrics.registry import MAX_SERIES, Counter, Gauge, Histogram, Registry, escape, number


def test_the_page() -> None:
    registry = Registry()
    plain, labelled = Counter("a_total", "Of a.\nAnd b."), Counter("b_total", "Of b.", ("x", "y"))
    histogram = Histogram("c_seconds", "Of c.", ("m",), bounds=(0.5, 1))
    for family in (plain, labelled, histogram):
        registry.add(family)
    registry.add(Gauge("d", "Of d.", read=lambda: [((), 1.5)]))
    registry.add(Gauge("e", "Of nothing.", read=list))
    plain.add(2)
    labelled.add(1, 'a"\\\n', "z")
    for value in (0.5, 0.7, 9):
        histogram.observe(value, "m")

    assert registry.render() == (
        "# HELP a_total Of a.\\nAnd b.\n# TYPE a_total counter\na_total 2\n"
        '# HELP b_total Of b.\n# TYPE b_total counter\nb_total{x="a\\"\\\\\\n",y="z"} 1\n'
        "# HELP c_seconds Of c.\n# TYPE c_seconds histogram\n"
        'c_seconds_bucket{m="m",le="0.5"} 1\nc_seconds_bucket{m="m",le="1"} 2\n'
        'c_seconds_bucket{m="m",le="+Inf"} 3\nc_seconds_sum{m="m"} 10.2\nc_seconds_count{m="m"} 3\n'
        "# HELP d Of d.\n# TYPE d gauge\nd 1.5\n"
    )


def test_series_are_bounded() -> None:
    counter = Counter("a_total", "Of a.", ("x",))
    histogram = Histogram("b", "Of b.", ("x",), bounds=(1,))
    for index in range(MAX_SERIES + 50):
        counter.add(1, str(index))
        histogram.observe(1, str(index))

    assert len(list(counter.lines())) == MAX_SERIES + 1
    assert counter.value("other") == 50
    assert histogram.count("other") == 50
    gauge = Gauge("c", "Of c.", ("x",), read=lambda: [((str(i % 3000),), i) for i in range(9000)])
    assert len(list(gauge.lines())) == MAX_SERIES


@given(st.floats())
def test_numbers_are_read_back(value: float) -> None:
    text = number(value)
    read = float(text)

    assert read == value or (math.isnan(read) and math.isnan(value))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reads_any_label() -> None:
    registry = Registry()
    counter = Counter("a_total", "Of a.", ("x",))
    registry.add(counter)
    for text in ('"', "\\", "\n", "ü{}", "a,b=c", "\\n"):
        counter.add(1, text)

    done = subprocess.run(
        ["promtool", "check", "metrics"], input=registry.render(), capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr


@given(st.text())
def test_a_label_never_leaves_its_quotes(text: str) -> None:
    inner = escape(text)

    assert "\n" not in inner
    assert '"' not in inner.replace("\\\\", "").replace('\\"', "")

"""The pure parts of the benchmark suite: what it reads out of programs, and what it says about figures."""

from __future__ import annotations

import os
import time

import pytest
from bench import wrk
from bench.bars import verdict
from bench.load import BadAnswer, answer_size
from bench.machine import cpu_seconds, resident_kb
from bench.suite import markdown

WRK = """Running 2s test @ http://127.0.0.1:1/x
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.13ms  332.34us   5.05ms   86.51%
  Latency Distribution
     50%  980.00us
     75%    1.21ms
     90%    1.50ms
     99%    2.09ms
  28218 requests in 2.01s, 9.90MB read
Requests/sec:  14038.80
"""


def test_what_wrk_prints() -> None:
    found = wrk.parse(WRK)

    assert (found.requests, found.seconds) == (28218, 2.01)
    assert (found.p50_us, found.p99_us) == (980.0, 2090.0)


@pytest.mark.parametrize(
    "text",
    ["", WRK.replace("28218", "0"), WRK + "  Non-2xx or 3xx responses: 3\n",
     WRK + "  Socket errors: connect 2, read 0, write 0, timeout 0\n"],
)  # fmt: skip
def test_a_run_that_went_wrong_is_no_figure(text: str) -> None:
    with pytest.raises(wrk.WrkFailed):
        wrk.parse(text)


def test_processor_time_is_that_of_the_process() -> None:
    before = time.process_time()
    counted = cpu_seconds([os.getpid()])

    assert before <= counted <= time.process_time()


def test_resident_memory() -> None:
    assert resident_kb("Name:\tx\nVmRSS:\t   2048 kB\nThreads:\t1\n") == 2048


def test_the_size_of_an_answer() -> None:
    assert answer_size(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel") == 38 + 5
    for wrong in (b"HTTP/1.1 502 x\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b""):
        with pytest.raises(BadAnswer):
            answer_size(wrong)


def test_bars() -> None:
    assert verdict("cpu_us_per_request", 40.0, 10.0).endswith(": met")
    assert verdict("cpu_us_per_request", 41.0, 10.0).endswith(": not met")
    assert verdict("cpu_us_per_request", 41.0, None) == ""
    assert verdict("idle_mb", 39.0, 7.0) == "≤ 40: met"
    assert verdict("p99_us", 1.0, 1.0) == ""


def test_the_table() -> None:
    table = {
        "direct": {"us_p50": 10.0},
        "nginx": {"us_p50": 20.0},
        "hostler": {"us_p50": 50.0, "idle_mb": 39.0},
    }
    lines = markdown(table).splitlines()

    assert lines[0] == "| figure | direct | nginx | hostler | hostler / nginx | bar |"
    assert "| `idle_mb` |  |  | 39.0 |  | ≤ 40: met |" in lines
    assert "| `us_p50` | 10.0 | 20.0 | 50.0 | 2.50 |  |" in lines

"""The pure parts of the benchmark suite: what it reads out of programs, and what it says about figures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest
from bench import wrk
from bench.bars import BARS, verdict
from bench.load import BadAnswer, answer_size
from bench.machine import cpu_seconds, resident_kb
from bench.picture import svg
from bench.processes import ROOT
from bench.suite import add_delays, markdown

from hostler.testing import wait_until

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
    assert verdict("mb_idle", 39.0, 7.0) == "≤ 40: met"
    assert verdict("requests_per_second", 49.0, 100.0) == "≥ 0.5 × nginx's: not met"
    assert verdict("requests_per_second", 50.0, 100.0).endswith(": met")
    assert verdict("added_us_per_paced_chunk_p99", 600.0, 100.0) == "≤ nginx's + 500: met"
    assert verdict("us_p99", 1.0, 1.0) == ""


def test_every_bar_is_of_a_figure_that_the_documentation_explains() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    logs = text.partition("## Logs")[2]

    assert [name for name in BARS if f"`{name}`" not in text and not name.startswith("log_")] == []
    assert "log" in logs


def test_what_a_subject_adds() -> None:
    table = {"direct": {"us_p50": 10.0}, "hostler": {"us_p50": 50.0, "us_p99": 1.0}}
    add_delays(table)

    assert table["hostler"] == {"us_p50": 50.0, "us_p99": 1.0, "added_us_p50": 40.0}


def test_the_picture() -> None:
    table = {
        "nginx": {"cpu_us_per_request": 10.0, "added_us_p50": 50.0},
        "hostler": {"cpu_us_per_request": 45.0, "added_us_p50": 100.0, "mb_idle": 1.0},
    }
    drawn = ET.fromstring(svg(table))
    words = [text for one in drawn.iter() if (text := (one.text or "").strip())]

    assert "4.5 (bar 4.0)" in words
    assert "2.0 (bar 3.0)" in words


@pytest.mark.wire
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_stays_behind_when_a_run_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "bench.gate"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    started = psutil.Process(program.pid)
    try:
        wait_until(lambda: len(started.children()) == 3, "upstream, relay and Hostler", timeout=30)
        others = started.children(recursive=True)
        program.send_signal(number)
        assert program.wait(30) != 0
    finally:
        program.kill()
        program.wait()

    _, alive = psutil.wait_procs(others, timeout=5)
    assert alive == []
    assert list(tmp_path.iterdir()) == []


def test_the_table() -> None:
    table = {
        "direct": {"us_p50": 10.0},
        "nginx": {"us_p50": 20.0},
        "hostler": {"us_p50": 50.0, "mb_idle": 39.0},
    }
    lines = markdown(table).splitlines()

    assert lines[0] == "| figure | direct | nginx | hostler | hostler / nginx | bar |"
    assert "| `mb_idle` |  |  | 39.00 |  | ≤ 40: met |" in lines
    assert "| `us_p50` | 10.00 | 20.00 | 50.00 | 2.50 |  |" in lines

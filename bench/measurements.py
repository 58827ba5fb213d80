"""What is measured on every subject. Each returns figures by name; see docs/benchmarks.md for how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import uvloop

from bench import load, machine, requests, wrk
from bench.lab import Lab, Subject

Figures = dict[str, float]
PACE_MS: Final = 20.0
CONNECTIONS: Final = 16
ASKED: Final = 1000  # single requests, for the delay that a subject adds
OPENED: Final = 300  # single streams, for the delay of their first byte
LARGE: Final = 5_000_000  # bytes of a picture in base64
LARGE_COUNT: Final = 10


def small(subject: Subject, at: Lab, seconds: float) -> Figures:
    """Small JSON requests over 16 connections; the upstream is nginx."""
    return _wrk(subject, subject.whole, at, requests.WHOLE, seconds, "")


def small_python(subject: Subject, at: Lab, seconds: float) -> Figures:
    """The same with the upstream that is Python: it takes its share of the two cores."""
    return _wrk(subject, subject.streams, at, requests.STREAMS, seconds, "_python")


def _wrk(subject: Subject, port: int, at: Lab, model: str, seconds: float, suffix: str) -> Figures:
    before = machine.cpu_seconds(subject.pids)
    result = wrk.run(port, requests.PATH, at.script(model), connections=CONNECTIONS, seconds=seconds)
    spent = machine.cpu_seconds(subject.pids) - before
    figures = {
        "requests_per_second" + suffix: result.requests / result.seconds,
        "us_at_16_p50" + suffix: result.p50_us,
        "us_at_16_p99" + suffix: result.p99_us,
    }
    if subject.pids:
        figures["cpu_us_per_request" + suffix] = 1e6 * spent / result.requests
    return figures


def single(subject: Subject, _: Lab, __: float) -> Figures:
    """One small request after the other on one connection."""
    request = requests.post(requests.small_body())
    with load.connection(subject.whole) as sock:
        taken = sorted(load.ask(sock, request) for _ in range(ASKED))
    return {"us_p50": taken[ASKED // 2] / 1e3, "us_p99": taken[ASKED * 99 // 100] / 1e3}


def first(subject: Subject, _: Lab, __: float) -> Figures:
    """One short stream after the other on one connection: until the first byte of the first event."""
    request = requests.post(requests.stream_body(1, 0))
    with load.connection(subject.streams) as sock:
        taken = sorted(load.first_byte(sock, request) for _ in range(OPENED))
    return {
        "us_to_first_byte_p50": taken[OPENED // 2] / 1e3,
        "us_to_first_byte_p99": taken[OPENED * 99 // 100] / 1e3,
    }


def paced(subject: Subject, _: Lab, seconds: float) -> Figures:
    """64 streams, a chunk every 20 ms each."""
    body = requests.stream_body(round(seconds * 1000 / PACE_MS), PACE_MS)
    spent, totals = _streams(subject, requests.post(body), 64, spread=PACE_MS / 1000 * 5, dated=True)
    delays = sorted(totals.delays)
    figures = {
        "us_per_paced_chunk_p50": delays[len(delays) // 2] / 1e3,
        "us_per_paced_chunk_p99": delays[len(delays) * 99 // 100] / 1e3,
    }
    return figures | ({"cpu_us_per_paced_chunk": 1e6 * spent / totals.chunks} if subject.pids else {})


def fast(subject: Subject, _: Lab, seconds: float) -> Figures:
    """32 streams at full speed."""
    chunks = round(40_000 * seconds / 6)
    request = requests.post(requests.stream_body(chunks, 0))
    spent, totals = _streams(subject, request, 32, spread=0, dated=False)
    return {"cpu_us_per_fast_chunk": 1e6 * spent / totals.chunks} if subject.pids else {}


def _streams(
    subject: Subject, request: bytes, count: int, *, spread: float, dated: bool
) -> tuple[float, load.StreamTotals]:
    before = machine.cpu_seconds(subject.pids)
    totals = uvloop.run(load.run_streams(subject.streams, request, count, spread=spread, dated=dated))
    return machine.cpu_seconds(subject.pids) - before, totals


def large(subject: Subject, _: Lab, __: float) -> Figures:
    """A question about a picture of 5 MB."""
    if not subject.pids:
        return {}
    request = requests.post(requests.image_body(LARGE))
    before = machine.cpu_seconds(subject.pids)
    with load.connection(subject.streams) as sock:
        for _number in range(LARGE_COUNT):
            load.ask(sock, request)
    return {"cpu_ms_per_5_mb": 1e3 * (machine.cpu_seconds(subject.pids) - before) / LARGE_COUNT}


Measurement = Callable[[Subject, Lab, float], Figures]
MEASUREMENTS: Final[dict[str, Measurement]] = {
    "small": small, "small_python": small_python, "single": single, "first": first, "paced": paced,
    "fast": fast, "large": large,
}  # fmt: skip

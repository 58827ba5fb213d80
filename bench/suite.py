"""`python -m bench.suite`: measures every subject in alternating rounds and writes a table."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from bench import load, machine, requests, wrk
from bench.bars import verdict
from bench.lab import Lab, Subject, lab
from bench.processes import end_on_signals, environment
from hostler.testing.ports import free_port

Figures = dict[str, float]
PACE_MS: Final = 20.0
ASKED: Final = 400  # single requests, for the delay that a subject adds
LARGE: Final = 5_000_000  # bytes of a picture in base64
LARGE_COUNT: Final = 20
# Processor time is counted in ticks of 10 ms: shorter measurements are mostly rounding.
SECONDS: Final = 6.0


def small(subject: Subject, at: Lab, seconds: float) -> Figures:
    """Small JSON requests over 16 connections."""
    before = machine.cpu_seconds(subject.pids)
    result = wrk.run(subject.whole, requests.PATH, at.script, connections=16, seconds=seconds)
    spent = machine.cpu_seconds(subject.pids) - before
    figures = {"requests_per_second": result.requests / result.seconds, "p99_us": result.p99_us}
    if subject.pids:
        figures["cpu_us_per_request"] = 1e6 * spent / result.requests
        figures["loaded_mb"] = machine.resident_mb(subject.pids)
    return figures


def single(subject: Subject, _: Lab, __: float) -> Figures:
    """One small request after the other on one connection."""
    request = requests.post(requests.small_body())
    with load.connection(subject.whole) as sock:
        taken = sorted(load.ask(sock, request) for _ in range(ASKED))
    return {"us_p50": taken[ASKED // 2] / 1e3, "us_p99": taken[ASKED * 99 // 100] / 1e3}


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
    spent, totals = _streams(
        subject, requests.post(requests.stream_body(chunks, 0)), 32, spread=0, dated=False
    )
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


MEASUREMENTS: Final[dict[str, Callable[[Subject, Lab, float], Figures]]] = {
    "small": small, "single": single, "paced": paced, "fast": fast, "large": large,
}  # fmt: skip


def starts(at: Lab) -> Figures:
    """How long Hostler takes to answer /health from nothing, and to print its help; medians of five."""
    cold: list[float] = []
    helped: list[float] = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run([*at.python, "--help"], env=environment(), stdout=subprocess.DEVNULL, check=True)
        helped.append(time.perf_counter() - begun)
        port = free_port()
        argv = [*at.python, "serve", "--config", str(at.config), "--listen", f"127.0.0.1:{port}"]
        begun = time.perf_counter()
        with subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL) as process:
            try:
                asyncio.run(_until_healthy(port))
                cold.append(time.perf_counter() - begun)
            finally:
                process.terminate()
    return {"cold_start_ms": 1e3 * statistics.median(cold), "help_ms": 1e3 * statistics.median(helped)}


async def _until_healthy(port: int) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.002)
            continue
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await reader.readuntil(b"\r\n")
        writer.close()
        assert b" 200 " in answer, answer
        return


def measure(at: Lab, names: list[str], rounds: int, seconds: float) -> dict[str, Figures]:
    """Every measurement on every subject; figures are medians over the rounds."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    idle = {subject.name: machine.resident_mb(subject.pids) for subject in at.subjects if subject.pids}
    for subject in at.subjects:
        single(subject, at, seconds)  # the first one starts the model
    for number in range(rounds):
        for name in names:
            turn = number % len(at.subjects)
            for subject in at.subjects[turn:] + at.subjects[:turn]:
                print(f"round {number + 1}/{rounds}: {name}, {subject.name}", file=sys.stderr)
                for figure, value in MEASUREMENTS[name](subject, at, seconds).items():
                    found[subject.name][figure].append(value)
    table = {name: {key: statistics.median(v) for key, v in each.items()} for name, each in found.items()}
    direct = table.get("direct", {})
    for name, figures in table.items():
        if name != "direct":
            for key in ("us_p50", "us_per_paced_chunk_p50", "us_per_paced_chunk_p99"):
                if key in figures and key in direct:
                    figures["added_" + key] = figures[key] - direct[key]
            figures["idle_mb"] = idle[name]
    return table


def markdown(table: dict[str, Figures]) -> str:
    """The table as people read it; bars are Hostler's."""
    names = list(table)
    figures = sorted({figure for each in table.values() for figure in each})
    lines = [f"| figure | {' | '.join(names)} | hostler / nginx | bar |", "|---" * (len(names) + 3) + "|"]
    for figure in figures:
        values = [table[name].get(figure) for name in names]
        ours, reference = table["hostler"].get(figure), table.get("nginx", {}).get(figure)
        ratio = f"{ours / reference:.2f}" if ours is not None and reference else ""
        said = verdict(figure, ours, reference) if ours is not None else ""
        cells = [f"{value:,.1f}" if value is not None else "" for value in values]
        lines.append(f"| `{figure}` | {' | '.join(cells)} | {ratio} | {said} |")
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(MEASUREMENTS), default=list(MEASUREMENTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, short: for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    end_on_signals()
    machine.allow_many_files()
    rounds, seconds = (1, 2.0) if options.quick else (options.rounds, SECONDS)
    try:
        with lab() as at:
            table = measure(at, options.only, rounds, seconds)
            table["hostler"] |= starts(at)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    described = machine.description()
    print(", ".join(f"{key}: {value}" for key, value in described.items()), end="\n\n")
    print(markdown(table))
    if options.json:
        options.json.write_text(
            json.dumps({"machine": described, "figures": table}, indent=1), encoding="utf-8"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

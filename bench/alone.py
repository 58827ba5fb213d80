"""What is measured of Hostler by itself: how it starts, and what memory it takes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Final

import uvloop

from bench import load, machine, requests, wrk
from bench.lab import HOSTLER, Lab, Subject
from bench.measurements import CONNECTIONS, Figures
from bench.processes import environment
from hostler.testing.ports import free_port, wait_until_listening

STARTS: Final = 5
MANY: Final = 1000  # connections, or streams
REQUESTS: Final = 100_000
HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW_STREAM: Final = requests.post(requests.stream_body(1000, 1000.0))
STREAMING_SECONDS: Final = 5.0
IMPORT_LINE: Final = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( *)(\S+)")


def starts(at: Lab) -> Figures:
    """How long Hostler takes to answer /health from nothing, and to print its help; medians."""
    config = at.written("hostler.yaml", name="start")
    cold: list[float] = []
    helped: list[float] = []
    for _ in range(STARTS):
        begun = time.perf_counter()
        subprocess.run([*HOSTLER, "--help"], env=environment(), stdout=subprocess.DEVNULL, check=True)
        helped.append(time.perf_counter() - begun)
        port = free_port()
        argv = [*HOSTLER, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
        begun = time.perf_counter()
        process = at.processes.start("start", argv)
        try:
            _until_healthy(port, process)
            cold.append(time.perf_counter() - begun)
        finally:
            at.processes.stop(process)
    return {"cold_start_ms": 1e3 * statistics.median(cold), "help_ms": 1e3 * statistics.median(helped)}


def _until_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    wait_until_listening(port, alive=lambda: process.poll() is None)
    with load.connection(port) as sock:
        load.ask(sock, HEALTH)


def imports() -> tuple[Figures, list[str]]:
    """The time that the modules of `hostler serve` take to load, and the heaviest of them."""
    program = "import hostler.cli.main, hostler.cli.serving, hostler.app"
    argv = [HOSTLER[0], "-X", "importtime", "-c", program]
    runs = []
    for _ in range(STARTS):
        told = subprocess.run(argv, env=environment(), stderr=subprocess.PIPE, text=True, check=True).stderr
        runs.append({found[4]: int(found[1]) for found in IMPORT_LINE.finditer(told)})
    runs.sort(key=lambda run: sum(run.values()))
    run = runs[len(runs) // 2]
    heaviest = sorted(run.items(), key=lambda one: -one[1])[:8]
    return (
        {"import_ms": sum(run.values()) / 1e3, "imported_modules": float(len(run))},
        [f"`{name}` {spent / 1e3:.1f}" for name, spent in heaviest],
    )


def memory(at: Lab) -> dict[str, Figures]:
    """Resident memory of each subject, Hostler's each of a process of its own; its guardian's separately."""
    found: dict[str, Figures] = {}
    for subject in at.subjects:
        if subject.name in ("nginx", "haproxy"):
            found[subject.name] = {"mb_idle": machine.resident_mb(subject.pids)}
            found[subject.name] |= {figure: take(subject, at) for figure, take in LOADS.items()}
    ours: Figures = {}
    for figure, take in LOADS.items():
        with at.fresh(figure) as subject:
            with load.connection(subject.whole) as sock:
                load.ask(sock, HEALTH)
            ours["mb_idle"] = machine.resident_mb(subject.pids)
            ours[figure] = take(subject, at)
            guardian = machine.children(subject.pids[0])
            if guardian:
                ours["mb_of_the_guardian"] = machine.resident_mb(guardian)
    found["hostler"] = ours
    return found


def _with_connections(subject: Subject, _: Lab) -> float:
    with _connected(subject.whole, MANY):
        return machine.resident_mb(subject.pids)


@contextlib.contextmanager
def _connected(port: int, count: int) -> Iterator[None]:
    """So many connections that have had an answer and stay open."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            load.ask(stack.enter_context(load.connection(port)), HEALTH)
        yield


def _with_streams(subject: Subject, _: Lab) -> float:
    async def streaming() -> float:
        totals = load.StreamTotals()
        streams = await load.open_streams(subject.streams, SLOW_STREAM, MANY, spread=0, totals=totals)
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*(stream.begun for stream in streams))
            await asyncio.sleep(STREAMING_SECONDS)
            return machine.resident_mb(subject.pids)
        finally:
            for stream in streams:
                stream.close()

    return uvloop.run(streaming())


def _after_requests(subject: Subject, at: Lab) -> float:
    script, count = at.script(requests.WHOLE), 0
    while count < REQUESTS:
        count += wrk.run(subject.whole, requests.PATH, script, connections=CONNECTIONS, seconds=2).requests
    return machine.resident_mb(subject.pids)


LOADS: Final[dict[str, Callable[[Subject, Lab], float]]] = {
    "mb_with_1000_connections": _with_connections,
    "mb_with_1000_streams": _with_streams,
    "mb_after_100000_requests": _after_requests,
}

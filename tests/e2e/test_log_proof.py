"""The proof of the log store, with real processes: not one byte unaccounted for, and memory flat.

Four engines print numbered lines at once, as fast as they can. Meanwhile followers with different filters
and speeds come, leave and resume, some read nothing at all; engines crash, the configuration is reloaded,
and Hostler itself is stopped and started again in the middle of the flood. A program beside this one checks
every byte.

Of the followers a third reads raw text, the others records: of one log, or every twentieth of all four
together; one in five of one log wants every line, the others are filtered down to one line of a hundred or of
a thousand. Two in five of those that read are slow, a tenth reads nothing until the flood is over, half of
the readers of records leave and resume again and again. The files keep an eighth of what is written: who
falls behind by more than that is told how many bytes it missed, as the files are meant to work. (All of it
to everybody would be 200 GB, which no two cores deliver in minutes.)

The usual size is small; HOSTLER_PROOF_MB=1000 HOSTLER_PROOF_FOLLOWERS=200 is the whole of it, and takes
about three minutes on two cores.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench import machine
from bench.flood_engine import lines_of
from bench.processes import Processes, environment

from hostler.testing.ports import free_port, wait_until

MEGABYTES = int(os.environ.get("HOSTLER_PROOF_MB", "30"))
FOLLOWERS = int(os.environ.get("HOSTLER_PROOF_FOLLOWERS", "30"))
# What a busy Hostler may hold beside what it has at rest: buffers of the sockets, a quarter of a megabyte for
# each follower that reads files, and what waits for the disk.
GROWTH_MB = 96 + FOLLOWERS * 0.75
WIDTHS = {"e0": 200, "e1": 500, "e2": 1000, "e3": 4000}
SLICES = 6
PATIENCE = 30 + MEGABYTES * 0.4  # seconds for the slowest to read what is kept
ENGINE = f"{sys.executable} -m bench.flood_engine"
# The whole of it is more than what is kept on disk, so the slow ones have gaps to account for.
KEPT = max(MEGABYTES * 1_000_000 // 8, 8_000_000)
FILTERS = (
    ("", 1),
    ("&level=error", 1000),
    ("&level=warn", 100),
    ("&grep=ERROR", 1000),
    ("&grep=INFO&invert=1", 100),
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]


def ask(port: int, method: str, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, (path, response.status, body[:500])
        return json.loads(body)
    finally:
        connection.close()


@dataclass
class Stage:
    """Hostler and its engines, over more than one life."""

    processes: Processes
    port: int = field(default_factory=free_port)
    engines: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in WIDTHS})
    memory: list[float] = field(default_factory=list)
    hostler: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.processes.directory / "hostler.yaml"

    def write_config(self, *, description: str = "") -> None:
        models = {
            name: {
                "cmd": f"{ENGINE} --port {port} --name {name} --width {WIDTHS[name]}",
                "proxy": f"http://127.0.0.1:{port}",
                "description": description,
            }
            for name, port in self.engines.items()
        }
        logs = {"dir": str(self.processes.directory / "logs"), "maxBytes": KEPT, "segmentBytes": 1_000_000}
        groups = {"all": {"swap": False, "members": list(WIDTHS)}}
        self.config.write_text(
            json.dumps({"logs": logs, "models": models, "groups": groups}), encoding="utf-8"
        )

    def start(self) -> None:
        argv = [sys.executable, "-m", "hostler.cli.main", "serve", "--config", str(self.config)]
        self.hostler = self.processes.start(
            "hostler", [*argv, "--listen", f"127.0.0.1:{self.port}"], port=self.port
        )

    def stop(self) -> None:
        """Ask it to end, and give it the time: what is killed may leave gaps of unknown size."""
        hostler, self.hostler = self.hostler, None
        assert hostler is not None
        hostler.terminate()
        assert hostler.wait(120) == 0
        self.processes.stop(hostler)

    def sample(self) -> float:
        hostler = self.hostler
        if hostler is None:
            return 0.0
        try:
            self.memory.append(machine.resident_mb([hostler.pid]))
        except (OSError, RuntimeError):  # it is just ending
            return 0.0
        return self.memory[-1]

    def print(self, name: str, size: int, seconds: float = 0) -> None:
        """Let an engine print thousands of lines, in no less than `seconds`."""
        lines = max(1000, size // WIDTHS[name] // 1000 * 1000)
        rate = f"&rate={lines * WIDTHS[name] / seconds}" if seconds else ""
        ask(self.port, "POST", f"/upstream/{name}/print?lines={lines}{rate}")


@contextmanager
def sampling(stage: Stage) -> Iterator[None]:
    """Look at Hostler's memory ten times a second."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            stage.sample()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def followers() -> list[dict[str, Any]]:
    """A third raw, the others as records: of one log or all four, filtered or not; a tenth reads nothing."""
    choose = random.Random(20_260_801)
    found: list[dict[str, Any]] = []
    for number in range(FOLLOWERS):
        log = list(WIDTHS)[number % 4]
        spec: dict[str, Any] = {"log": log, "kind": "records", "seed": number}
        if number % 3 == 0:
            spec["kind"] = "raw"
        else:
            query, every = FILTERS[number % len(FILTERS)]
            spec |= {"query": query, "every": every, "leaves": choose.random() < 0.5}
            if number % 20 == 1:
                spec |= {"log": "", "query": "", "every": 1}
        if number % 10 == 9:
            spec |= {"stalled": True, "small": True, "leaves": False}
        elif choose.random() < 0.4:
            spec["speed"] = choose.choice([200_000, 1_000_000, 5_000_000])
        found.append(spec)
    return found


def write_truth(directory: Path) -> dict[str, dict[str, Any]]:
    """What each engine prints from its first line on, as much as it can print in all."""
    truth: dict[str, dict[str, Any]] = {}
    for name, width in WIDTHS.items():
        path = directory / f"{name}.truth"
        count = (MEGABYTES * 1_000_000 // 4 // width // 1000 + 2 + SLICES) * 1000
        with path.open("wb") as file:
            for first in range(0, count, 10_000):
                file.write(lines_of(name.encode(), first, min(10_000, count - first), width))
        truth[name] = {"path": str(path), "width": width}
    return truth


def flood(stage: Stage, pool: ThreadPoolExecutor) -> None:
    """All engines at once, slice after slice, and everything that can come in between."""
    size = MEGABYTES * 1_000_000 // 4 // SLICES

    def each(names: list[str], seconds: float = 0) -> list[Future[None]]:
        return [pool.submit(stage.print, name, size, seconds) for name in names]

    def wait(jobs: list[Future[None]], *, broken: Callable[[], None] | None = None) -> None:
        for job in jobs:
            if broken is None:
                job.result()
            else:
                job.exception()

    names = list(WIDTHS)
    wait(each(names))
    for victim in ("e0", "e2"):  # crashes, in the middle of printing
        before = newest(stage, victim)
        jobs = each(names, 1.0)
        wait_until(partial(moved, stage, victim, before), f"{victim} to print", 60)
        crash = pool.submit(ask, stage.port, "POST", f"/upstream/{victim}/crash")
        assert crash.exception() is not None
        jobs[names.index(victim)].exception()
        wait([job for name, job in zip(names, jobs, strict=True) if name != victim])
        wait_until(partial(ended, stage, victim), f"the end of {victim}", 30)
    stage.write_config(description="another one")
    jobs = each(names)
    assert ask(stage.port, "POST", "/api/config/reload")["applied"]
    wait(jobs)
    before = newest(stage, "e1")
    jobs = each(names, 2.0)
    wait_until(partial(moved, stage, "e1", before), "e1 to print", 60)
    stage.stop()  # in the middle of the flood
    for job in jobs:
        job.exception()
    stage.start()
    wait(each(names))
    wait(each(["e0", "e2"]))  # what their crashes left unprinted
    for name in names:  # one line more, which every filter wants
        ask(stage.port, "POST", f"/upstream/{name}/print?lines=1")


def newest(stage: Stage, name: str) -> str:
    """The cursor of the last record of a log."""
    return str(ask(stage.port, "GET", f"/logs/{name}?tail=1&format=ndjson")["cursor"])


def moved(stage: Stage, name: str, before: str) -> bool:
    return newest(stage, name) != before


def ended(stage: Stage, name: str) -> bool:
    return "ended" in ask(stage.port, "GET", f"/logs/runs/{name}")["runs"][0]


def ends(stage: Stage, runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, int]]:
    """Where each log ends: behind the last line that its engine says it has printed."""
    found: dict[str, dict[str, int]] = {}
    for name in WIDTHS:
        answer = ask(stage.engines[name], "POST", "/print?lines=0")
        newest = runs[name][0]
        assert "ended" not in newest
        found[name] = {"end": newest["start"] + answer["bytes"], "run_start": newest["start"]}
    return found


def check(report: dict[str, Any], end: dict[str, dict[str, int]], starts: dict[str, list[int]]) -> None:
    """One follower's ledger against what was written."""
    assert not report["problem"], json.dumps(report | {"boundaries": []})
    assert report["done"], report
    total = report["delivered"] + report["missed"]
    if report["raw"]:
        name = report["log"]
        begin = end[name]["end"] - total
        run = max(start for start in starts[name] if start <= begin)
        assert report["started_at"] == begin - run, report
        assert {begin + at for at in report["boundaries"]} <= set(starts[name]), (report, starts[name])
        return
    for name, at in report["at"].items() if report["log"] else ():
        assert at == end[name]["end"], report
    written = sum(end[name]["end"] for name in report["at"])
    if report["every"] == 1:
        assert total == written, report


def test_not_one_byte_is_unaccounted_for() -> None:
    begun = time.monotonic()
    with Processes() as processes, ThreadPoolExecutor(16) as pool:
        truth = write_truth(processes.directory)
        stage = Stage(processes)
        stage.write_config()
        stage.start()
        for name in WIDTHS:
            ask(stage.port, "POST", f"/api/models/load/{name}")
        at_start = stage.sample()
        epoch = ask(stage.port, "GET", "/logs/runs/e0")["epoch"]
        told = {"port": stage.port, "epoch": epoch, "truth": truth, "followers": followers()}
        argv = [sys.executable, "-m", "bench.flood_followers"]
        with (
            subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
            ) as client,
            sampling(stage),
        ):
            try:
                report = watch(client, told, stage, pool)
            finally:
                client.kill()
        at_end = settled(stage)
        runs = {name: ask(stage.port, "GET", f"/logs/runs/{name}")["runs"] for name in WIDTHS}
        end = ends(stage, runs)
        on_disk = sum(file.stat().st_size for file in (processes.directory / "logs").glob("*/*.log"))
    starts = {name: sorted(run["start"] for run in found) for name, found in runs.items()}
    assert all(len(found) >= 2 for found in runs.values())
    for follower in report:
        check(follower, end, starts)
    written = sum(at["end"] for at in end.values())
    every = len(stage.memory) // 24 + 1
    print(
        f"\n{written / 1e6:.0f} MB written, {len(report)} followers: "
        f"{sum(f['delivered'] for f in report) / 1e6:.0f} MB delivered to them, "
        f"{sum(f['missed'] for f in report) / 1e6:.0f} MB announced as missed in "
        f"{sum(f['gaps'] for f in report)} gaps, {sum(f['records'] for f in report)} records, "
        f"{sum(f['resumes'] for f in report)} connections with a cursor; {on_disk / 1e6:.0f} MB on disk; "
        f"resident {at_start:.0f} MB at the start, {max(stage.memory):.0f} at most, {at_end:.0f} at the end, "
        f"and over time {[round(stage.memory[at]) for at in range(0, len(stage.memory), every)]}; "
        f"{time.monotonic() - begun:.0f} s"
    )
    assert on_disk <= KEPT
    assert max(stage.memory) < at_start + GROWTH_MB
    assert at_end < at_start + GROWTH_MB / 2


def watch(
    client: subprocess.Popen[bytes], told: dict[str, Any], stage: Stage, pool: ThreadPoolExecutor
) -> list[dict[str, Any]]:
    """The flood, with the followers in front of it; returns what they say."""
    assert client.stdin is not None
    assert client.stdout is not None

    def say(what: dict[str, Any]) -> Any:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(json.dumps(what).encode() + b"\n")
        client.stdin.flush()
        return json.loads(client.stdout.readline())

    assert say(told) == {"ready": True}
    flood(stage, pool)
    runs = {name: ask(stage.port, "GET", f"/logs/runs/{name}")["runs"] for name in WIDTHS}
    found: list[dict[str, Any]] = say({"finish": ends(stage, runs), "patience": PATIENCE})["followers"]
    return found


def settled(stage: Stage) -> float:
    """Resident memory when the followers have gone."""
    wait_until(lambda: stage.sample() <= min(stage.memory[-20:]) + 0.5, "memory to settle", 30)
    return stage.sample()

"""What must hold while the activity's file fails: requests go on as before, and no row is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hostler.testing.ports import free_port, wait_until_listening
from hostler.testing.stub import stub_argv

from .client import Client
from .server import CHAT, Front, config, engine_port, in_process, question, raw_engine, running, until
from .test_activity_rows import engine

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

# `HOSTLER_BURST` makes it more.
BURST = int(os.environ.get("HOSTLER_BURST", "800"))
CLIENTS = 16
LISTENERS = 100
ANSWER = b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}'


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """A file system of its own, of so many bytes."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


async def burst(front: Front, count: int) -> list[float]:
    """So many requests by all clients together; how long each took."""
    times: list[float] = []

    async def ask() -> None:
        async with await front.connect() as client:
            for _ in range(count // CLIENTS):
                began = time.perf_counter()
                answer = await client.ask("POST", CHAT, question("a"))
                times.append(time.perf_counter() - began)
                assert (answer.status, answer.body) == (200, ANSWER)

    await asyncio.gather(*(ask() for _ in range(CLIENTS)))
    return sorted(times)


async def deaf_listeners(front: Front) -> None:
    """A hundred who never read a byte of their events."""
    for number in range(LISTENERS):
        client = await front.connect()
        path = ("/api/events", "/api/v2/events?logs=proxy&logs=a")[number % 2]
        await client.send(f"GET {path} HTTP/1.1\r\nhost: h\r\n\r\n".encode())
    bus = front.hostler.observatory.bus
    await until(lambda: bus.listeners == LISTENERS, "all listeners")


async def counted(front: Front, expected: int) -> None:
    """Every number says the same."""
    page = (await front.get("/metrics")).body.decode().splitlines()
    for line in (
        f'hostler_requests_total{{model="a",status="2xx",error="none"}} {expected}',
        f'hostler_tokens_total{{model="a",kind="input"}} {3 * expected}',
        f'hostler_tokens_total{{model="a",kind="output"}} {4 * expected}',
        f'hostler_request_duration_seconds_count{{model="a"}} {expected}',
        f'hostler_request_bytes_total{{model="a",direction="out"}} {len(ANSWER) * expected}',
        "hostler_activity_lost_total 0",
        "hostler_inflight_requests 0",
    ):
        assert line in page, [found for found in page if found.startswith(line.split("{")[0])]


async def test_a_full_disk_and_deaf_listeners_under_a_burst(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "400k") as disk:
        async with raw_engine(engine(ANSWER).serve) as port:
            settings = config(
                in_process("a", port), store_path=str(disk / "a.db"), metrics_max_in_memory=25_000
            )
            async with running(settings) as front:
                hostler = front.hostler
                writer = hostler.observatory.store._writer
                # All that is said to the log, which forgets under so many requests.
                said: list[str] = []
                hostler.observatory.store._on_problem = said.append
                hostler.observatory.store._on_news = said.append
                await deaf_listeners(front)
                times = await burst(front, BURST)
                padding = disk / "padding"
                with contextlib.suppress(OSError):
                    padding.write_bytes(bytes(400 * 1024))
                times += await burst(front, BURST)
                served = len(times)
                await until(lambda: writer.failing, "the disk to be full")
                stats = (await front.get("/api/metrics/stats")).json()

                # Whatever the disk does: all requests were served, none stood still for it, all are counted.
                assert served == 2 * (BURST // CLIENTS) * CLIENTS
                assert max(times) < 5.0
                await counted(front, served)
                assert stats["total_requests"] == served
                assert stats["total_output_tokens"] == 4 * served
                bus = hostler.observatory.bus
                assert bus.listeners == LISTENERS
                assert len(bus._events) <= 4096
                assert [("cannot be written" in text, "full" in text) for text in said] == [(True, True)]

                writer.retry_seconds, writer._retry_at = 0.0, 0.0
                subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
                await front.chat("a")
                await front.get("/api/metrics/activity")
                await until(lambda: not writer.failing, "the disk to be used again")
                assert "can be written again" in said[-1]
                for client in front.clients:
                    client.leave()
        with contextlib.closing(sqlite3.connect(disk / "a.db")) as connection:
            assert connection.execute("SELECT COUNT(*), MAX(id) FROM activity").fetchone() == (
                served + 1,
                served + 1,
            )


async def test_a_file_that_somebody_locks(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with (
        raw_engine(engine(ANSWER).serve) as port,
        running(config(in_process("a", port), store_path=str(path))) as front,
    ):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            times = await burst(front, 160)
            assert max(times) < 1.0
            await counted(front, 160)
            other.execute("ROLLBACK")
        assert (await front.get("/api/metrics/stats")).json()["total_requests"] == 160
        assert b"[WARN] activity" not in front.hostler.hub.proxy.history()


async def test_a_kill_loses_a_second_at_most(tmp_path: Path) -> None:
    """Rows that are a second old are in the file, whatever happens; those after it may be."""
    port = engine_port()
    model = {"cmd": " ".join(stub_argv(port, model="a")), "proxy": f"http://127.0.0.1:{port}"}
    settings = {"store": {"path": str(tmp_path / "a.db")}, "logs": {"dir": str(tmp_path / "logs")},
                "models": {"a": model}}  # fmt: skip
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    listening = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "hostler.cli.main", "serve", "--config", str(tmp_path / "c.yaml"),
         "--listen", f"127.0.0.1:{listening}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ended: list[float] = []
    try:
        await asyncio.to_thread(wait_until_listening, listening)
        async with await Client.connect(listening) as client:
            until_when = time.monotonic() + 1.8
            while time.monotonic() < until_when:
                assert (await client.ask("POST", CHAT, question("a"))).status == 200
                ended.append(time.monotonic())
    finally:
        killed = time.monotonic()
        process.send_signal(signal.SIGKILL)
        process.wait()
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        found = [line[0] for line in connection.execute("SELECT id FROM activity ORDER BY id")]
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    assert found == list(range(1, len(found) + 1))
    old = sum(moment < killed - 1.0 for moment in ended)
    assert old > 0
    assert old <= len(found) <= len(ended)

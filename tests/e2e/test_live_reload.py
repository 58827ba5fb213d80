"""What must hold: fifty reloads under a steady load of streams change everything around a model but not it.

Hostler runs as a user starts it. Its file is replaced again and again, and it is asked to read it by a
signal, by the API and by its own watching; model A is not to notice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hostler.client import ApiError, HostlerClient
from hostler.testing.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

RELOADS = 50
CLIENTS = 4
PATIENCE = 30.0


@dataclass
class Running:
    """A `hostler serve` and its file."""

    process: subprocess.Popen[bytes]
    port: int
    file: Path
    ports: dict[str, int]

    @property
    def client(self) -> HostlerClient:
        return HostlerClient(f"http://127.0.0.1:{self.port}")

    def pid_of(self, model: str) -> int | None:
        rows = get(self.port, "/running")["running"]
        return next((row["pid"] for row in rows if row["model"] == model), None)

    def write(self, text: str) -> None:
        """Replace the file as editors do, so that nobody sees half of it."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)


def get(port: int, path: str) -> Any:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        return json.load(answer)


def post(port: int, path: str) -> tuple[int, Any]:
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def text(ports: dict[str, int], *, b_ttl: int = 0, c: bool = True, gap: str = "", c_name: str = "c") -> str:
    """Three models that may run together; B's ttl, C's existence and the file's looks differ."""
    engine = f"{sys.executable} -m hostler.engines.stub --port"
    lines = [
        f"# {gap}",
        "healthCheckTimeout: 60",
        "groups:",
        "  all:",
        "    swap: false",
        f"    members: [a, b{', c' if c else ''}]",
        "models:",
        "  a:",
        f"    cmd: {engine} {ports['a']} --model a",
        f"    proxy: http://127.0.0.1:{ports['a']}",
        "  b:",
        f"    cmd: {engine} {ports['b']} --model b{b_ttl}",
        f"    proxy: http://127.0.0.1:{ports['b']}",
        f"    ttl: {b_ttl}",
    ]
    if c:
        lines += [
            "  c:",
            f"    name: {c_name}",
            f"    cmd: {engine} {ports['c']}",
            f"    proxy: http://127.0.0.1:{ports['c']}",
        ]
    return (gap + "\n").join(lines) + "\n"


@asynccontextmanager
async def hostler(tmp_path: Path) -> AsyncIterator[Running]:
    port, a, b, c = (free_port() for _ in range(4))
    ports = {"a": a, "b": b, "c": c}
    file = tmp_path / "config.yaml"
    file.write_text(text(ports))
    command = [sys.executable, "-m", "hostler.cli.main", "serve", "--config", str(file), "--watch-config"]
    process = subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}"], cwd=tmp_path)
    running = Running(process, port, file, ports)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    assert process.poll() is None
                    await asyncio.sleep(0)
        yield running
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0


class Load:
    """Clients that ask model A for streams, one after the other, and take each apart."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.done = 0
        self.failures: list[str] = []
        self.stop = False

    async def run(self) -> None:
        while not self.stop:
            try:
                await self._one()
            except (OSError, asyncio.IncompleteReadError, ValueError) as error:
                self.failures.append(repr(error))
            self.done += 1

    async def _one(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        body = json.dumps(
            {"model": "a", "stream": True, "messages": [], "stub": {"tokens": 12, "chunk_delay": 0.01}}
        ).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\nConnection: close\r\n\r\n".encode() + body)
        answer = await reader.read()
        writer.close()
        whole = answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"0\r\n\r\n")
        if not whole or answer.count(b"[DONE]") != 1:
            self.failures.append(answer[-300:].decode("latin-1"))


async def test_fifty_reloads_under_load(tmp_path: Path) -> None:
    async with hostler(tmp_path) as running:
        await asyncio.to_thread(running.client.load, "a")
        await asyncio.to_thread(running.client.load, "b")
        pid = await asyncio.to_thread(running.pid_of, "a")
        assert pid is not None
        load = Load(running.port)
        clients = [asyncio.ensure_future(load.run()) for _ in range(CLIENTS)]
        for number in range(RELOADS):
            running.write(
                text(
                    running.ports,
                    b_ttl=number % 7 + 1000,
                    c=number % 3 > 0,
                    gap=" " * (number % 4),
                    c_name=f"c{number}",
                )
            )
            if number % 2:
                os.kill(running.process.pid, signal.SIGHUP)
            status, answer = await asyncio.to_thread(post, running.port, "/api/config/reload")
            assert (status, answer["applied"]) == (200, True), answer
            if number % 10 == 0:
                await asyncio.to_thread(running.client.load, "b")
                assert await asyncio.to_thread(running.pid_of, "a") == pid
        load.stop = True
        await asyncio.gather(*clients)

        assert load.failures == []
        assert load.done > CLIENTS
        assert await asyncio.to_thread(running.pid_of, "a") == pid
        rows = (await asyncio.to_thread(get, running.port, "/api/models"))["models"]
        assert {row["id"]: row["run"] for row in rows}["a"] == 1


async def test_watching_planning_and_a_broken_file(tmp_path: Path) -> None:
    async with hostler(tmp_path) as running:
        await asyncio.to_thread(running.client.load, "a")

        # A file that is wrong changes nothing, and says where it is wrong.
        good = text(running.ports)
        running.write(good.replace("swap: false", "swap: perhaps"))
        status, answer = await asyncio.to_thread(post, running.port, "/api/config/reload")
        assert status == 422
        (problem,) = answer["error"]["details"]["problems"]
        assert (problem["line"], problem["path"]) == (5, "groups.all.swap")
        assert await asyncio.to_thread(running.pid_of, "a") is not None

        # What would happen, without it happening.
        running.write(good.replace("\n  c:\n", "\n  d:\n").replace("b, c]", "b, d]"))
        status, answer = await asyncio.to_thread(post, running.port, "/api/config/plan")
        assert (status, answer["applied"]) == (200, False)
        assert (answer["plan"]["added"], answer["plan"]["removed"]) == (["d"], ["c"])

        # The watch finds it by itself, sooner or later.
        async with asyncio.timeout(PATIENCE):
            while "d" not in {
                row["id"] for row in (await asyncio.to_thread(get, running.port, "/v1/models"))["data"]
            }:
                await asyncio.sleep(0)


async def test_a_port_that_is_taken_is_passed_over(tmp_path: Path) -> None:
    import socket

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", free_port()))
        stranger.listen()
        taken = stranger.getsockname()[1]
        engine = f"{sys.executable} -m hostler.engines.stub"
        async with hostler(tmp_path) as running:
            running.write(f"startPort: {taken}\nmodels: {{p: {{cmd: '{engine} --port ${{PORT}}'}}}}\n")
            status, answer = await asyncio.to_thread(post, running.port, "/api/config/reload")
            assert status == 200
            assert f"port {taken} is taken" in answer["warnings"][0]["message"]
            try:
                loaded = await asyncio.to_thread(running.client.load, "p")
            except ApiError as error:
                pytest.fail(str(error))
            assert loaded["model"] == "p"

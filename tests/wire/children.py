"""A small engine with bad manners, a log to watch it by, and ways to see who is still there."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
from pathlib import Path
from typing import Any

import psutil

from hostler.core import ModelId, StartReason, State
from hostler.logs.source import SourceLog
from hostler.process.guardian import Guardian
from hostler.process.run import Run, RunSpec

# Below the range clients get their ports from: a probe of one engine must not take the port of the next.
_ports = itertools.count(14_000 + os.getpid() % 90 * 200)

ENGINE = r"""
import os, signal, socket, subprocess, sys, time
port, *traits = sys.argv[1:]

def say(*words):  # in one write, or the lines of several processes mix
    os.write(1, (" ".join(map(str, words)) + "\n").encode())

def helper(name, own_session, deaf):
    code = "import os, signal\n"
    code += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if deaf else ""
    code += "os.write(1, b'%s up\\n')\nsignal.pause()" % name
    child = subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=own_session)
    say(name, "pid", child.pid)

say("engine pid", os.getpid())
if "deaf" in traits:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "helper" in traits:
    helper("helper", False, False)
if "deaf-helper" in traits:
    helper("helper", False, True)
if "escaped" in traits:
    helper("escaped", True, True)
if "orphan" in traits:  # a daemon: its parent is gone when it runs
    if os.fork() == 0:
        os.setsid()
        helper("orphan", True, True)
        os._exit(0)
    os.wait()
if "mute" in traits:
    signal.pause()
with socket.create_server(("127.0.0.1", int(port))) as server:
    say("listening", time.monotonic())
    while True:
        client, _ = server.accept()
        request = client.recv(4096)
        if "crash" in traits:
            os._exit(7)
        if "hang" in traits:
            continue
        status = b"503 Loading" if "loading" in traits else b"200 OK"
        client.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
        client.close()
"""


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def spec(*traits: str, **fields: Any) -> RunSpec:
    """An engine with these traits at a free port."""
    port = next(number for number in _ports if not is_taken(number))
    fields.setdefault("argv", (sys.executable, "-S", "-c", ENGINE, str(port), *traits))
    fields.setdefault("proxy", f"http://127.0.0.1:{port}")
    fields.setdefault("start_timeout", 20.0)
    fields.setdefault("stop_grace", 5.0)
    return RunSpec(**fields)


class Life:
    """A run with its log and the states it went through."""

    def __init__(self, spec: RunSpec, guardian: Guardian) -> None:
        self.log = SourceLog("m", epoch="e")
        self.states: list[State] = []
        self.run = Run(
            spec,
            model=ModelId("m"),
            number=1,
            reason=StartReason.REQUEST,
            guardian=guardian,
            log=self.log,
            on_state=lambda _, state: self.states.append(state),
        )

    async def said(self, text: str) -> str:
        """The first line with `text` in it, as soon as it is whole."""
        seen = b""
        try:
            async with asyncio.timeout(15), self.log.follow() as follower:
                async for chunk in follower:
                    seen += chunk.data
                    for line in seen.decode().splitlines(keepends=True):
                        if text in line and line.endswith("\n"):
                            return line.strip()
        except TimeoutError:
            pass
        raise AssertionError(f"{text!r} was never said by {self.run}, only {seen!r}")

    async def pid_of(self, name: str) -> int:
        """The process id a helper was announced with, once it is up."""
        pid = int((await self.said(f"{name} pid")).split()[-1])
        if name != "engine":
            await self.said(f"{name} up")
        return pid


def alive(pid: int) -> bool:
    """Whether the process is there and not a zombie that waits for its parent."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descriptors() -> set[str]:
    """The open descriptors of this process, on Linux."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except OSError:
            continue  # the one this listing itself used
    return found

"""Followers of floods that check every byte: a program of its own, so that the flood has a core for itself.

It is told over stdin, one JSON object a line, and answers the same way over stdout:

    {"port": …, "truth": {"e0": {"path": …, "width": …}}, "followers": [{"log": "e0", "kind": "raw", …}]}
        -> {"ready": true} when all have their answers' heads
    {"finish": {"e0": {"end": …, "run_start": …}}, "patience": …}
        -> the report, when each has come to the end of its log, or after so many seconds

Every follower keeps a ledger: bytes delivered, bytes announced as missed, and where in the log they lie.
What it is given is compared with the lines as `bench.flood_engine` prints them.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import random
import socket
import sys
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.flood_checks import Ledger, RawCheck, RecordCheck, Truth, Wrong

QUIET_SECONDS: Final = 3.0


class Follower:
    """One follower over the socket of its own, with its speed and its whims."""

    def __init__(self, at: Followers, spec: dict[str, Any]) -> None:
        self._at = at
        self.spec = spec
        self.log = spec["log"]
        self.raw = spec["kind"] == "raw"
        self._random = random.Random(spec["seed"])  # noqa: S311 - whims, no secrets
        self.check = self._new_check()
        self.sessions: list[Ledger] = []
        self.connected = asyncio.Event()
        self.last_data = 0.0

    def _new_check(self) -> RawCheck | RecordCheck:
        if self.raw:
            return RawCheck(self._at.truths[self.log])
        truths = self._at.truths if self.log == "" else {self.log: self._at.truths[self.log]}
        return RecordCheck(truths, self.spec.get("every", 1), single=self.log != "")

    @property
    def done(self) -> bool:
        """Whether it has come to the end of its log."""
        finish = self._at.ends
        if not finish:
            return False
        if isinstance(self.check, RawCheck):
            at = self.check.offset
            quiet = asyncio.get_running_loop().time() - self.last_data > QUIET_SECONDS
            end = finish[self.log]
            if quiet and at is not None:
                self.check.settle()
            return quiet and self.check.offset == end["end"] - end["run_start"]
        ends = {name: finish[name]["end"] for name in self.check.at}
        told = sum(self.check.at.values()) + self.check.together
        return self.check.at == ends or (not self.log and told == sum(ends.values()))

    async def run(self) -> None:
        """Follow until the end, over as many connections as it takes."""
        try:
            while not self.done:
                try:
                    await self._connection()
                except (OSError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.1)  # Hostler is away for a moment
        except Wrong as wrong:
            self.check.ledger.problem = f"{self.spec}: {wrong}"
        except Exception as error:  # noqa: BLE001 - a problem of any kind is one to report
            self.check.ledger.problem = f"{self.spec}: {type(error).__name__}: {error}"

    async def _connection(self) -> None:
        sock = socket.socket()
        if self.spec.get("small"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._at.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 17)
        try:
            writer.write(f"GET {self._path()} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise Wrong(f"{head!r}")
            self.connected.set()
            await self._read(reader)
        finally:
            writer.close()

    def _path(self) -> str:
        if isinstance(self.check, RawCheck):
            if self.check.ledger.count or self.check.offset is not None:
                self.sessions.append(self.check.ledger)
                self.check = RawCheck(self._at.truths[self.log])
            return f"/logs/stream/{self.log}"
        self.check.ledger.resumes += 1
        cursor = self.check.cursor or f"{self._at.epoch}:0.0" + (".0" if self.log else "")
        where = f"/logs/stream/{self.log}" if self.log else "/logs/stream"
        models = "" if self.log else "".join(f"&model={name}" for name in self.check.at)
        return f"{where}?format=ndjson&cursor={cursor}{models}{self.spec.get('query', '')}"

    async def _read(self, reader: asyncio.StreamReader) -> None:
        rest = b""
        stay = self._random.randrange(1, 4_000_000) if self.spec.get("leaves") else 0
        while not self.done:
            if self.spec.get("stalled") and not self._at.ends:
                await self._at.finishing.wait()
            try:
                size = int(await asyncio.wait_for(reader.readline(), 1.0) or b"-1", 16)
            except TimeoutError:
                continue
            if size < 0:
                raise ConnectionError
            data = (await reader.readexactly(size + 2))[:-2]
            self.last_data = asyncio.get_running_loop().time()
            rest = await self._take(rest + data)
            if size == 0:
                raise ConnectionError
            if not self._at.ends:
                if speed := self.spec.get("speed"):
                    await asyncio.wait([self._at.finish_task], timeout=size / speed)
                if stay and (stay := max(0, stay - size)) == 0:
                    return

    async def _take(self, data: bytes) -> bytes:
        """Check what has come; returns what is no whole record yet."""
        if isinstance(self.check, RawCheck):
            self.check.feed(data)
            return b""
        *lines, rest = data.split(b"\n")
        for number, line in enumerate(lines):
            if line:
                self.check.feed(line)
            if number % 256 == 255:
                await asyncio.sleep(0)  # the others' turn
        return rest


class Followers:
    """All of them."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.port = told["port"]
        self.epoch = told["epoch"]
        self.truths = {}
        for name, truth in told["truth"].items():
            with Path(truth["path"]).open("rb") as file:
                text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.truths[name] = Truth(name.encode(), truth["width"], text)
        self.ends: dict[str, dict[str, int]] = {}
        self.finishing = asyncio.Event()
        self.finish_task = asyncio.ensure_future(self.finishing.wait())
        self.all = [Follower(self, spec) for spec in told["followers"]]

    async def run(self, lines: asyncio.StreamReader) -> None:
        """From the first connection to the report."""
        tasks = [asyncio.ensure_future(follower.run()) for follower in self.all]
        await asyncio.gather(*(follower.connected.wait() for follower in self.all))
        _say({"ready": True})
        told = json.loads(await lines.readline())
        self.ends = told["finish"]
        self.finishing.set()
        await asyncio.wait(tasks, timeout=told["patience"])
        _say({"followers": [self._report(follower) for follower in self.all]})

    def _report(self, follower: Follower) -> dict[str, Any]:
        ledger = follower.check.ledger
        at = getattr(follower.check, "at", {})
        done = follower.done
        return {
            "log": follower.log, "raw": follower.raw, "done": done, "delivered": ledger.delivered,
            "missed": ledger.missed, "gaps": ledger.gaps, "resumes": ledger.resumes,
            "records": ledger.records,
            "started_at": ledger.started_at, "boundaries": ledger.boundaries, "at": at,
            "every": follower.spec.get("every", 1),
            "problem": ledger.problem, "sessions": [[s.delivered, s.missed] for s in follower.sessions],
        }  # fmt: skip


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    await Followers(json.loads(await lines.readline())).run(lines)


if __name__ == "__main__":
    uvloop.run(_main())

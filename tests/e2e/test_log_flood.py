"""What must hold: for every follower, bytes received plus bytes announced as missed are the bytes written.

A real engine prints 500,000 numbered lines as fast as it can, over three runs of its process. Everything it
wrote is recorded beside the streams, and each follower's text is laid over that record byte by byte.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket

import pytest

from hostler import aio
from hostler.config.schema import Config, Group, Model, Routing
from hostler.core import ModelId
from hostler.testing.ports import free_port
from hostler.testing.serving import serving
from hostler.testing.stub import stub_argv

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

MODEL = ModelId("author/noisy")
LINES = 500_000
GAP = re.compile(rb"\[hostler\] gap: (\d+) bytes missed(?: \(line cut\))?\n")


async def post(port: int, path: str, body: object) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = json.dumps(body).encode()
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
    return answer


class Follower:
    """Reads a log stream over a socket of its own, de-chunks it, and keeps the text."""

    def __init__(self, port: int, *, small: bool = False) -> None:
        self._port = port
        self._small = small
        self.text = bytearray()
        self.headers = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.leave_after: int | None = None

    async def run(self) -> None:
        sock = socket.socket()
        if self._small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=65_536)
        writer.write(b"GET /logs/stream/author/noisy HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        self.headers.set()
        try:
            while size := int(await reader.readline(), 16):
                self.text += await reader.readexactly(size)
                await reader.readexactly(2)
                await self.go_on.wait()
                if self.leave_after is not None and len(self.text) >= self.leave_after:
                    return
        finally:
            writer.close()


def account(text: bytes, truth: bytes) -> int:
    """Lay a follower's text over what was written, byte by byte; returns how many bytes it covers.

    Gaps say how far to go on. Raises AssertionError at the first byte that is not as it should be.
    """
    first = re.search(rb"line \d{9}[^\n]*\n", text)
    assert first is not None
    parts = GAP.split(text)
    pieces, gaps = parts[::2], [int(gap) for gap in parts[1::2]]
    cut = [match.group().endswith(b"(line cut)\n") for match in GAP.finditer(text)]
    # The line break before a gap in the middle of a line is not the engine's.
    pieces = [piece[:-1] if index < len(cut) and cut[index] else piece for index, piece in enumerate(pieces)]
    # Where the text begins in the record: its first line is there once, as every line has its number.
    index = next(i for i, piece in enumerate(pieces) if first.group() in piece)
    offset = truth.index(first.group()) - pieces[index].index(first.group())
    offset -= sum(len(piece) for piece in pieces[:index]) + sum(gaps[:index])
    position = offset
    for number, piece in enumerate(pieces):
        assert truth[position : position + len(piece)] == piece
        position += len(piece)
        if number < len(gaps):
            position += gaps[number]
    return position - offset


async def flood(port: int, followers: list[Follower], tasks: list[asyncio.Task[None]]) -> None:
    """Three runs of the engine, two stops in between; followers come and go meanwhile."""
    choose = random.Random(4711)
    printed = 0
    for run in range(3):
        share = LINES // 3 + (LINES % 3 if run == 2 else 0)
        printing = aio.spawn(
            post(
                port,
                "/upstream/author/noisy/stub/print",
                {"lines": share, "start": printed + 1, "stream": "both" if run else "stdout"},
            ),
            name=f"print {run}",
        )
        printed += share
        while not printing.done():
            leaving = choose.choice(followers)
            if leaving.leave_after is None and choose.random() < 0.3:
                leaving.leave_after = len(leaving.text) + choose.randrange(1, 500_000)
                coming = Follower(port, small=choose.random() < 0.5)
                followers.append(coming)
                tasks.append(aio.spawn(coming.run(), name="follower"))
                await asyncio.wait(
                    [printing, aio.spawn(coming.headers.wait(), name="headers")],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            else:
                await asyncio.wait([printing], timeout=0.02)
        await printing
        if run < 2:
            await post(port, "/api/models/unload/author/noisy", {})


async def test_every_byte_is_received_or_announced() -> None:
    engine_port = free_port()
    model = Model(
        MODEL,
        cmd=" ".join(stub_argv(engine_port)),
        port=engine_port,
        proxy=f"http://127.0.0.1:{engine_port}",
    )
    config = Config(models={MODEL: model}, routing=Routing(groups={"all": Group("all", (MODEL,))}))
    async with serving(config) as (hostler, port):
        truth = bytearray()
        hostler.hub.model(MODEL).subscribe(truth.extend)
        followers = [Follower(port) for _ in range(8)]
        stalled = Follower(port, small=True)
        stalled.go_on.clear()
        tasks = [aio.spawn(follower.run(), name="follower") for follower in (*followers, stalled)]
        await asyncio.gather(*(follower.headers.wait() for follower in (*followers, stalled)))

        await flood(port, followers, tasks)
        await post(port, "/upstream/author/noisy/stub/print", {"lines": 1, "start": 999_999_999})
        stalled.go_on.set()
    await asyncio.gather(*tasks)

    everything = bytes(truth)
    assert everything.count(b"\n") >= LINES
    there_throughout = [f for f in (*followers[:8], stalled) if f.leave_after is None]
    missed = 0
    for follower in (*followers, stalled):
        text = bytes(follower.text)
        covered = account(text, everything)
        missed += sum(int(gap) for gap in GAP.findall(text))
        # Those who were there from the first byte to the last have accounted for every one.
        if follower in there_throughout:
            assert covered == len(everything)
    assert stalled in there_throughout
    assert GAP.search(bytes(stalled.text))
    print(f"{len(everything)} bytes, {len(followers) + 1} followers, {missed} bytes announced as missed")

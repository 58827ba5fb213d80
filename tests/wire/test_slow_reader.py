"""A client that does not read: its answer waits at the engine, not in our memory, and nobody else notices."""

from __future__ import annotations

import asyncio
import re
from typing import cast

import pytest

from hostler.web.protocol import HostlerProtocol

from .client import request
from .server import CHAT, ONLY_SEND, config, in_process, question, raw_engine, running, until

MEGABYTE = 1_048_576
servers = pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])


class Torrent:
    """An engine that writes as fast as it is let, and counts what it got rid of."""

    def __init__(self, size: int, *, chunked: bool = False) -> None:
        self.size = size
        self.chunked = chunked
        self.written = 0
        self.requests = 0
        self.moved = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        piece = b"x" * 65_536
        while await reader.readuntil(b"\r\n\r\n"):
            self.requests += 1
            framing = b"transfer-encoding: chunked" if self.chunked else b"content-length: %d" % self.size
            writer.write(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
            for _ in range(self.size // len(piece)):
                writer.write(b"10000\r\n" + piece + b"\r\n" if self.chunked else piece)
                await writer.drain()
                self.written += len(piece)
                self.moved.set()
            if self.chunked:
                writer.write(b"0\r\n\r\n")
                await writer.drain()

    async def until_stuck(self) -> int:
        """How much was written when nothing more would go for a while."""
        try:
            while True:
                async with asyncio.timeout(0.25):
                    await self.moved.wait()
                self.moved.clear()
        except TimeoutError:
            return self.written


@servers
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_the_engine_is_held_back_until_the_client_reads(chunked: bool, plain: bool) -> None:
    """What is on its way is bounded by the sockets' buffers, whatever the size of the answer."""
    engine = Torrent(256 * MEGABYTE, chunked=chunked)
    async with (
        raw_engine(engine.serve) as port,
        running(config(in_process("a", port)), plain=plain) as front,
    ):
        client = await front.connect()
        await client.send(request("GET", "/upstream/a/big"))
        await client.head()

        # Kernels give a socket on loopback some megabytes at most.
        assert await engine.until_stuck() < 40 * MEGABYTE
        other = await asyncio.wait_for(front.get("/health"), 5)
        assert other.body == b"OK"

        before = engine.written
        await client.piece()
        for _ in range(200):
            await client.piece()
        await until(lambda: engine.written > before, "the engine to go on")
        client.leave()
        await front.until_idle()


async def test_everything_arrives_once_the_client_reads() -> None:
    engine = Torrent(24 * MEGABYTE)
    async with raw_engine(engine.serve) as port, running(config(in_process("a", port))) as front:
        client = await front.connect()
        await client.send(request("GET", "/upstream/a/big"))
        await client.head()
        await engine.until_stuck()

        body, complete = await client.rest()

        assert complete
        assert len(body) == engine.size


async def test_the_connection_to_the_engine_still_hears_after_a_slow_reader() -> None:
    """The end of an answer may come while its connection is held back; the next request uses that one."""
    size = 512 * 1024

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
            await writer.drain()

    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        for _ in range(6):
            answer = await front.get("/upstream/a/x")
            assert (answer.complete, len(answer.body)) == (True, size)


@pytest.mark.skipif(ONLY_SEND, reason="there is no protocol of ours")
@pytest.mark.parametrize("path", ["/upstream/a/x", CHAT])
async def test_a_client_that_reads_no_answer_gets_no_more_of_them(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it asks for meanwhile waits; the others are served over the same connection to the engine."""
    size, most = 60_000, 0
    asked = 400  # far more than the sockets between the two take

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)

    made: list[HostlerProtocol] = []
    connected = HostlerProtocol.connection_made

    def noted(protocol: HostlerProtocol, transport: asyncio.Transport) -> None:
        made.append(protocol)
        connected(protocol, transport)

    monkeypatch.setattr(HostlerProtocol, "connection_made", noted)
    method, body = ("POST", question("a")) if path == CHAT else ("GET", None)
    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        assert (await front.ask(method, path, body)).complete
        client = await front.connect()
        cast("asyncio.Transport", client.writer.transport).pause_reading()
        await until(lambda: len(made) == 2, "the connection")
        protocol = made[1]
        due = protocol.server_state.total_requests
        number = 0

        def stands() -> bool:
            return protocol.flow.write_paused or protocol.server_state.total_requests == due

        while not protocol.flow.write_paused and number < asked:
            number += 1
            due += 1
            await client.send(request(method, path, body))
            await until(stands, "an answer, or as much as the client takes")
        assert protocol.flow.write_paused
        for _ in range(20):
            client.writer.write(request(method, path, body))
            assert (await asyncio.wait_for(front.ask(method, path, body), 5)).complete
            most = max(most, protocol.transport.get_write_buffer_size())
        assert most < 4 * size
        cast("asyncio.Transport", client.writer.transport).resume_reading()
        for _ in range(number + 20):
            answer = await client.read()
            assert (answer.status, len(answer.body)) == (200, size)
        client.leave()
        await front.until_idle()

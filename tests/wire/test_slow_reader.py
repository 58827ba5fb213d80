"""A client that does not read: its answer waits at the engine, not in our memory, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest

from .client import request
from .server import config, in_process, raw_engine, running, until

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

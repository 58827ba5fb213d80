"""What is done for each piece of an answer that passes, counted in calls: this has no noise.

The regression gate (`bench.gate`) compares processor time; a call more for each piece is lost in it. Here one
piece after the other goes from the engine to the client, once with Hostler between them and once without, and
the calls of Python and C functions are counted that the first takes and the second does not.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from types import FrameType

import pytest

from .server import CHAT, ONLY_SEND, config, in_process, question, raw_engine, running

PIECES = 200
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":" word"}}],"usage":null}\n\n'
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
# Calls for each piece, on uvloop. One more is one too many: make it fewer, and lower this.
MOST = 8.0


class Lockstep:
    """An engine that writes the next chunk of its stream when it is told."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        while True:
            await self._told.wait()
            self._told.clear()
            writer.write(CHUNK)

    def tell(self) -> None:
        self._told.set()


async def calls_for_each_piece(port: int, engine: Lockstep) -> float:
    """Function calls in this process for each piece that a client reads from `port`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = str(question("a", stream=True)).replace("'", '"').replace("True", "true").encode()
    writer.write(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" % CHAT.encode())
    writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")

    async def pieces(count: int) -> None:
        for _ in range(count):
            engine.tell()
            data = await reader.read(65_536)
            assert data.endswith(CHUNK)

    await pieces(20)
    with_pieces = await counted(lambda: pieces(PIECES))
    writer.close()
    return with_pieces / PIECES


async def counted(work: Callable[[], Coroutine[None, None, None]]) -> int:
    calls = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        await work()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.skipif(ONLY_SEND, reason="about the relay")
async def test_a_piece_takes_no_more_calls_than_it_did() -> None:
    if "uvloop" not in type(asyncio.get_running_loop()).__module__:
        pytest.skip("the calls of asyncio's own transports are not ours")
    engine = Lockstep()
    async with raw_engine(engine.serve) as port, running(config(in_process("a", port))) as front:
        # What the timers of a second do is in some of the tries and not in all.
        direct = min([await calls_for_each_piece(port, engine) for _ in range(3)])
        through = min([await calls_for_each_piece(front.port, engine) for _ in range(3)])

    # A machine that is slow has more timers go off for each piece: a part of a call.
    assert through - direct < MOST + 0.5, f"{through - direct:.2f} calls for each piece"

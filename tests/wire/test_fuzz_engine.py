"""Engines that lie, stutter or stop at any byte, all the way to the client: 502, or a body visibly broken."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from .client import Answer, Client, TruncatedError, request
from .server import Front, config, in_process, raw_engine, running

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED
GARBAGE = (
    b"\0" * 100,
    b"\xff" * 100_000,
    b"hello\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\x15\x03\x01\x00\x02\x02\x50",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 OK\r\n\r\n",
    b"HTTP/1.1 99 Low\r\n\r\n",
    b"HTTP/1.1 000 None\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 1000 High\r\n\r\n",
    b"HTTP/1.1 600 High\r\n\r\n",
    b"HTTP/1.1 -200 OK\r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    OK + b"Content-Length: 5, 6\r\n\r\nhello!",
    OK + b"Content-Length: -1\r\n\r\n",
    OK + b"Content-Length: 18446744073709551616\r\n\r\n",
    OK + b"Content-Length : 5\r\n\r\nhello",
    OK + b"Transfer-Encoding: gzip\r\n\r\nhello",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    OK + b"X: a\0b\r\n\r\n",
    OK + b"X\r\n\r\n",
    OK + b": y\r\n\r\n",
    OK + b"X: y\r\n folded\r\n\r\n",
    OK + b"X: " + b"y" * 300_000 + b"\r\n\r\n",
    OK + b"".join(b"x-%d: y\r\n" % number for number in range(30_000)) + b"\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n" * 12_000 + SIZED,
    b"\r\n" * 200_000 + SIZED,
)
# Not HTTP after a good head: the client has a status already, and must see the break.
BROKEN = (
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n" + b"x: y\r\n" * 120_000,
    OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;" + b"x" * 700_000,
    OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello",
    OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
    OK + b"Content-Length: 18446744073709551615\r\n\r\nhello",
)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """These engines do not die of what they say, so there is nothing to wait for."""
    monkeypatch.setattr("hostler.fleet.lease.FATE_PATIENCE", 0.001)


class Liar:
    """An engine that answers each request with the bytes that the test set, in pieces, and then hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self.piece = 1 << 20
        self.stays = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            for start in range(0, len(self.answer), self.piece):
                writer.write(self.answer[start : start + self.piece])
                await writer.drain()
                await asyncio.sleep(0)
            if not self.stays:
                return

    async def ask(self, front: Front, answer: bytes, *, piece: int = 1 << 20) -> Answer:
        self.answer, self.piece = answer, piece
        client: Client = await front.connect()
        try:
            await client.send(request("GET", "/upstream/a/x"))
            return await client.read()
        finally:
            client.leave()


@pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])
async def test_garbage_is_a_502_that_says_so(plain: bool) -> None:
    engine = Liar()
    async with raw_engine(engine.serve) as port, running(config(in_process("a", port)), plain=plain) as front:
        for garbage, stays in itertools.product(GARBAGE, (False, True)):
            engine.stays = stays
            answer = await engine.ask(front, garbage)
            assert answer.status == 502, (garbage[:200], answer)
            assert answer.error["code"] == "bad_gateway"
            engine.stays = False
            assert (await engine.ask(front, SIZED)).body == b"hello"


@pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])
async def test_a_body_that_goes_wrong_is_visibly_broken(plain: bool) -> None:
    engine = Liar()
    async with raw_engine(engine.serve) as port, running(config(in_process("a", port)), plain=plain) as front:
        for broken, stays in itertools.product(BROKEN, (False, True)):
            engine.stays = stays and b"fff" not in broken and b"Length" not in broken
            try:
                answer = await engine.ask(front, broken)
            except TruncatedError:
                continue
            assert answer.status == 502 or not answer.complete, (broken[:200], answer)
            engine.stays = False
            assert (await engine.ask(front, SIZED)).body == b"hello"


@pytest.mark.parametrize("whole", [SIZED, CHUNKED, CONTINUED])
async def test_an_end_at_any_byte_is_a_502_or_visibly_broken(whole: bytes) -> None:
    engine = Liar()
    async with raw_engine(engine.serve) as port, running(config(in_process("a", port))) as front:
        for end in range(len(whole)):
            answer = await engine.ask(front, whole[:end])
            assert (answer.status == 502 and answer.complete) or (
                answer.status == 200 and not answer.complete and b"hello".startswith(answer.body)
            ), (whole[:end], answer)
        assert (await engine.ask(front, whole)).body == b"hello"


@pytest.mark.parametrize("whole", [SIZED, CHUNKED, CONTINUED])
@pytest.mark.parametrize("piece", [1, 2, 3, 10])
async def test_an_engine_may_stutter(whole: bytes, piece: int) -> None:
    engine = Liar()
    async with raw_engine(engine.serve) as port, running(config(in_process("a", port))) as front:
        for engine.stays in (False, True):
            answer = await engine.ask(front, whole, piece=piece)
            assert (answer.status, answer.body, answer.complete) == (200, b"hello", True)


async def test_more_than_was_asked_for_is_nobodys() -> None:
    """Two answers to one request: the second must not meet the next request on the connection."""
    engine = Liar()
    engine.stays = True
    async with raw_engine(engine.serve) as port, running(config(in_process("a", port))) as front:
        for extra in (SIZED.replace(b"hello", b"other"), b"x", b"\r\n", CHUNKED):
            for piece in (1 << 20, 40):
                assert (await engine.ask(front, SIZED + extra, piece=piece)).body == b"hello"
                assert (await engine.ask(front, SIZED)).body == b"hello"

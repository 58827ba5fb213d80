"""Fuzzing of both edges: whatever bytes come, there is an answer or an end, and nobody gets another's answer.

HOSTLER_FUZZ_CASES sets the number of cases of each kind (2,000 without it).
"""

from __future__ import annotations

import asyncio
import os
import random
import re

import pytest

from hostler.gateway.connection import Connection
from hostler.gateway.origin import Origin
from hostler.gateway.sinks import ResponseHead

from .client import PATIENCE
from .mirror import mirror
from .server import Front, config, in_process, running

CASES = int(os.environ.get("HOSTLER_FUZZ_CASES", "2000"))
HEAD = re.compile(rb"^HTTP/1\.1 ([1-5]\d\d) ")

pytestmark = [pytest.mark.asyncio(loop_factories=["uvloop"]), pytest.mark.timeout(300)]

BODY = b'{"model":"m","mark":"%d"}'
PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b"\xff", b"HTTP/1.0", b"HTTP/9.9", b"-1\r\n"),
    *(b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n", b"GET / HTTP/1.1\r\n"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: identity\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n"),
    *(b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Host: a\r\nHost: b\r\n", b"X: " + b"y" * 5000),
]
# How long the server may be silent before it is told that nothing more will come.
QUIET = 0.01


def post(number: int, *, chunked: bool = False) -> bytes:
    body = BODY % number
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"X-Request-ID: id-%d\r\n" % number
    if chunked:
        return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def mutated(data: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.randint(1, 4)):
        at = dice.randint(0, len(data))
        match dice.randint(0, 4):
            case 0:
                data = data[:at] + dice.choice(PIECES) + data[at:]
            case 1:
                data = data[:at] + data[at + dice.randint(1, 20) :]
            case 2:
                data = data[:at] + bytes([dice.randint(0, 255)]) + data[at + 1 :]
            case 3:
                data = data.replace(b"\r\n", dice.choice([b"\n", b"\r", b"\r\n\r\n"]), dice.randint(1, 3))
            case _:
                line = dice.choice(data.split(b"\r\n"))
                data = data[:at] + line + b"\r\n" + data[at:]
    return data


async def talk(front: Front, data: bytes, answers: int = 1, sure: int = 0) -> bytes:
    """What comes back for `data`: so many answers, or until the server closes.

    We close when it is silent; not before there are as many answers as are `sure` to come.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    seen = b""
    eof = False
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            while seen.count(b"HTTP/1.1 ") < answers + 1:
                try:
                    waits = eof or seen.count(b"x-request-id: ") < sure
                    async with asyncio.timeout(None if waits else QUIET):
                        piece = await reader.read(65_536)
                except TimeoutError:
                    if eof:
                        raise
                    eof = True
                    writer.write_eof()
                    continue
                if not piece:
                    break
                seen += piece
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return seen


async def test_any_bytes_get_an_answer_or_an_end() -> None:
    dice = random.Random(20261124)
    async with mirror() as port, running(config(in_process("m", port))) as front:
        await front.ask("POST", "/api/models/load/m")
        for number in range(CASES):
            data = mutated(post(number, chunked=number % 3 == 0) * dice.randint(1, 2), dice)
            answer = await talk(front, data, answers=9)
            assert not answer or HEAD.match(answer), (data, answer[:200])
            assert answer.count(b"Traceback") == 0
        await front.until_idle()
        assert (await front.chat("m")).status == 200
        assert "unexpected" not in front.log("proxy").history().decode()


async def test_pipelined_requests_get_their_own_answers_in_order() -> None:
    """Good ones before a bad one are answered; what follows a bad one never is."""
    dice = random.Random(7)
    async with mirror() as port, running(config(in_process("m", port))) as front:
        await front.ask("POST", "/api/models/load/m")
        for number in range(0, CASES, 10):
            good = [post(number + place, chunked=bool(dice.randint(0, 1))) for place in range(3)]
            data = b"".join(good) + mutated(post(number + 9), dice)
            answer = await talk(front, data, answers=9, sure=3)
            ids = [int(found) for found in re.findall(rb"(?m)^x-request-id: id-(\d+)\r$", answer)]
            assert ids[:3] == [number, number + 1, number + 2], answer
            marks = [int(found) for found in re.findall(rb'\\"mark\\":\\"(\d+)\\"', answer)]
            assert marks[:3] == ids[:3], "each answer is that to its own request"


SMUGGLED = b"GET /running HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length : 5\r\n",
        b" Content-Length: 5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"X: y\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ],
)
async def test_shapes_of_smuggling_are_refused(framing: bytes) -> None:
    async with mirror() as port, running(config(in_process("m", port))) as front:
        data = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n0\r\n\r\n" + SMUGGLED
        answer = await talk(front, data)

    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b'"running"' not in answer


# -- the side of the engines ---------------------------------------------------------------------------------

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
]


class Listener:
    """A sink that checks the order in which it is told things."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.size = 0

    def on_head(self, head: ResponseHead) -> None:
        assert self.told == []
        assert 200 <= head.status < 1000
        self.told.append("head")

    def on_settled(self) -> None:
        assert self.told == ["head"]

    def on_data(self, data: bytes) -> None:
        assert self.told == ["head"]
        assert data
        self.size += len(data)

    def on_chunk(self, chunk: bytes, start: int) -> None:
        self.on_data(chunk[start:-2])

    def on_end(self) -> None:
        assert self.told == ["head"]
        self.told.append("end")

    def on_failure(self, error: Exception) -> None:
        assert self.told in ([], ["head"])
        self.told.append("failure")


class Wire(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def test_any_engine_is_told_as_an_answer_or_a_failure() -> None:
    """Once each and in order, however its bytes are cut."""
    dice = random.Random(11)
    for number in range(5 * CASES):
        data = dice.choice(ANSWERS)
        if number % 5:
            data = mutated(data, dice)
        listener = Listener()
        connection = Connection(Origin("http", "x", 1))
        wire = Wire()
        connection.connection_made(wire)
        connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", listener, method="GET")
        at = 0
        while at < len(data) and not wire.closed:
            step = 1 if number % 2 else dice.randint(1, 40)
            connection.data_received(data[at : at + step])
            at += step
        connection.connection_lost(None)
        assert listener.told in (["head", "end"], ["head", "failure"], ["failure"]), (data, listener.told)
        if not number % 5:
            assert listener.told == ["head", "end"], data

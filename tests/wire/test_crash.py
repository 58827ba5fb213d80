"""An engine that dies at work: the client can tell, and the next request starts it again."""

from __future__ import annotations

import asyncio
import http.client
import json

import pytest

from hostler.core import Exit, ModelId, State
from hostler.fleet.lease import Lease
from hostler.fleet.slot import Slot

from .client import request
from .server import CHAT, config, engine_port, in_process, question, raw_engine, running, stub

A = ModelId("a")
servers = pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])


def events(body: bytes) -> list[str]:
    return [event.removeprefix("data: ") for event in body.decode().split("\n\n") if event]


@servers
async def test_a_stream_that_breaks_off_ends_with_an_error_and_without_its_end(plain: bool) -> None:
    """Between two events a last one says what happened, and the framing is not completed."""
    async with running(config(stub("a")), plain=plain) as front:
        client = await front.stream("a", tokens=20, die_in_stream=4)
        body, complete = await client.rest()

        assert not complete
        *answers, last = events(body)
        assert all("choices" in json.loads(event) for event in answers)
        error = json.loads(last)["error"]
        assert error["code"] == "bad_gateway"
        assert "in the middle of its answer; its process ended: exit code 1" in error["message"]
        await front.until_idle()
        await front.until("a", State.STOPPED)
        assert front.status(A).last_exit == "exit code 1"


async def test_the_next_request_starts_it_again() -> None:
    async with running(config(stub("a"))) as front:
        client = await front.stream("a", die_in_stream=2)
        await client.rest()

        answer = await front.chat("a")

        assert answer.status == 200
        assert front.status(A).run == 2


@servers
async def test_an_answer_that_breaks_off_is_not_whole_for_a_common_client(plain: bool) -> None:
    """http.client, and with it most of Python, sees a chunked answer without its last chunk."""

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")

    async with raw_engine(engine) as port, running(config(in_process("a", port)), plain=plain) as front:

        def ask() -> bytes:
            connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
            try:
                connection.request("GET", "/upstream/a/x")
                return connection.getresponse().read()
            finally:
                connection.close()

        with pytest.raises(http.client.IncompleteRead) as broken:
            await asyncio.to_thread(ask)

        assert broken.value.partial == b"hello"


@pytest.mark.parametrize(
    ("start", "whole"),
    [
        (b"content-length: 10\r\n\r\nhello", False),
        (b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", False),
        (b"transfer-encoding: chunked\r\n\r\n5\r\nhel", False),
        (b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\ndata:\r\n", False),
        (b"content-type: text/event-stream\r\ncontent-length: 99\r\n\r\ndata: 1\n\n", False),
        (
            (
                b"content-type: text/event-stream\r\ncontent-encoding: gzip\r\n"
                b"transfer-encoding: chunked\r\n\r\n4\r\n12\n\n\r\n5"
            ),
            False,
        ),
        (b"\r\nhello", True),  # the end of the connection is the end of the answer
    ],
)
async def test_only_bytes_of_the_engine_come_before_the_break(start: bytes, whole: bool) -> None:
    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + start)

    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        answer = await front.get("/upstream/a/x")

        assert answer.complete is whole
        assert b"error" not in answer.body
        assert answer.body in start


@servers
async def test_an_engine_that_dies_before_it_answers(plain: bool) -> None:
    """502 that says how the process ended."""
    async with running(config(stub("a")), plain=plain) as front:
        await front.chat("a")
        client = await front.connect()
        await client.send(request("POST", CHAT, question("a", first_delay=30)))
        await front.until_idle_but(1)

        await front.kill("a")
        answer = await client.read()

        assert answer.status == 502
        assert "closed the connection without answering" in answer.error["message"]
        assert "killed by SIGKILL" in answer.error["message"]
        assert answer.error["details"]["run"] == 1
        assert answer.error["details"]["exit"] == "killed by SIGKILL"
        assert (await front.chat("a")).status == 200
        assert front.status(A).run == 2
        client.leave()


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 999 Beyond\r\ncontent-length: 0\r\n\r\n",
        b"",
    ],
)
async def test_an_engine_that_does_not_speak_http(head: bytes) -> None:
    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)

    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        answer = await front.get("/upstream/a/x")

        assert answer.status == 502
        assert answer.error["message"].startswith("a: the engine at")


async def test_a_stale_connection_is_replaced_without_the_client_noticing() -> None:
    """The engine closes a connection it kept, in the moment in which the next request uses it."""
    connections = 0

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")

    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        answers = [await front.get("/upstream/a/x") for _ in range(4)]

        assert [answer.body for answer in answers] == [b"ok"] * 4
        assert connections == 4


async def test_a_crash_while_nobody_asks_is_noted() -> None:
    async with running(config(stub("a"))) as front:
        await front.chat("a")
        await front.kill("a")
        await front.until("a", State.STOPPED)

        assert front.status(A).last_exit == "killed by SIGKILL"
        rows = (await front.get("/api/models")).json()["models"]
        assert rows[0]["last_error"] == "killed by SIGKILL while running"


async def test_a_client_that_waits_for_a_crashing_start_is_not_left_alone() -> None:
    """Killed from outside while it loads: 502 with the signal."""
    async with running(config(stub("a", stub_options={"ready_after": 30}))) as front:
        waiting = asyncio.create_task(front.chat("a"))
        await front.until("a", State.STARTING)
        await front.until_process("a")
        await front.kill("a")

        answer = await waiting

        assert answer.status == 502
        assert answer.error["details"]["signal"] == 9


async def test_a_request_that_a_dead_engine_never_saw_is_given_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Refused at the door, and the process found dead: nothing was done yet, so it can be done now."""
    port = engine_port()
    listeners: list[asyncio.Server] = []

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async def fate(slot: Slot, lease: Lease) -> Exit | None:
        listeners.append(await asyncio.start_server(engine, "127.0.0.1", port))
        return Exit(code=1)

    async with running(config(in_process("a", port))) as front:
        monkeypatch.setattr("hostler.gateway.evidence.fate", fate)
        try:
            answer = await front.get("/upstream/a/x")
        finally:
            for listener in listeners:
                listener.close()

        assert (answer.status, answer.body) == (200, b"ok")

"""http.md, section 4.6: what a proxy must change, and nothing else; more of it is in test_passing_on.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets

from . import certificate
from .client import Client, request
from .server import Front, config, in_process, raw_engine, running, stub
from .test_passing_on import OK, Recorder, recorded

# The loop that Hostler is served with; what is close to sockets and processes is tested on both.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

SERVERS = pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])
X = "/upstream/a/x"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"


@asynccontextmanager
async def answered(answer: bytes = OK, *, plain: bool = False) -> AsyncIterator[tuple[Front, Recorder]]:
    engine = Recorder(answer)
    async with raw_engine(engine.serve) as port, running(config(in_process("a", port)), plain=plain) as front:
        yield front, engine


# -- requests ----------------------------------------------------------------------------------------------


async def test_4_6_connection_may_name_headers_in_several_lists() -> None:
    async with recorded() as (front, engine):
        await front.get(
            X,
            [
                ("Connection", "X-One, keep-alive"),
                ("connection", ",x-TWO ,"),
                ("X-ONE", "1"),
                ("x-two", "2"),
                ("x-three", "3"),
            ],
        )

        assert [engine.header(name) for name in ("x-one", "x-two", "x-three")] == [[], [], ["3"]]


async def test_4_6_a_connection_header_cannot_take_away_what_frames_the_request() -> None:
    """A known way to smuggle: let the proxy drop a length, or a header that it added itself."""
    async with recorded() as (front, engine):
        wish = [("connection", "close, content-length, host, x-forwarded-for")]
        await front.ask("POST", X, b"body", wish)

        assert engine.header("content-length") == ["4"]
        assert engine.bodies == [b"body"]
        assert engine.header("x-forwarded-for") == ["127.0.0.1"]
        assert len(engine.header("host")) == 1


async def test_4_6_other_forwarding_headers_are_the_clients() -> None:
    sent = [
        ("forwarded", "for=1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outside"),
        ("x-real-ip", "1.2.3.4"),
        ("via", "1.1 other"),
    ]
    async with recorded() as (front, engine):
        await front.get(X, sent)

        assert [(name, engine.header(name)) for name, _ in sent] == [(name, [value]) for name, value in sent]


@SERVERS
async def test_4_6_expect_is_answered_here(plain: bool) -> None:
    """By us, once; the engine gets a whole request."""
    async with answered(plain=plain) as (front, engine):
        client = await front.connect()
        await client.send(request("POST", X, headers=[("content-length", "4"), ("Expect", "100-Continue")]))
        assert (await client.interim()).status == 100
        await client.send(b"body")

        assert (await client.interim()).status == 200
        assert engine.header("expect") == []
        assert engine.bodies == [b"body"]


async def test_4_6_an_old_client_knows_no_interim_answers() -> None:
    async with answered() as (front, _):
        client = await front.connect()
        head = request("POST", X, headers=[("content-length", "4"), ("expect", "100-continue")])
        await client.send(head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"body")
        assert (await client.interim()).status == 200


@SERVERS
async def test_4_6_who_does_not_wait_for_leave_to_send_is_served(plain: bool) -> None:
    async with answered(plain=plain) as (front, engine):
        client = await front.connect()
        await client.send(request("POST", X, b"body", [("expect", "100-continue")]))
        assert (await client.read()).body == b"ok"
        assert (await client.ask("GET", "/health")).body == b"OK"
        assert engine.bodies == [b"body"]


@SERVERS
async def test_4_6_bodies_of_both_framings_arrive_however_they_are_cut(plain: bool) -> None:
    chunked = request("POST", X, headers=[("transfer-encoding", "Chunked")])
    whole = (
        request("POST", X, b"sized")
        + chunked
        + b"3\r\nabc\r\n02;e=1\r\nde\r\n0\r\nt: 1\r\n\r\n"
        + request("GET", X)
    )
    async with answered(plain=plain) as (front, engine):
        for size in (1, 2, 3, 7, 50, len(whole)):
            client = await front.connect()
            engine.bodies.clear()
            for start in range(0, len(whole), size):
                await client.send(whole[start : start + size])
                await asyncio.sleep(0)
            for _ in range(3):
                assert (await client.read()).body == b"ok"
            assert engine.bodies == [b"sized", b"abcde", b""]
            client.leave()


@pytest.mark.parametrize("kind", ["h2c", "websocket"])
@pytest.mark.parametrize("size", [1, 7, 60, 1000])
async def test_4_6_a_wish_to_switch_does_not_cost_the_body(kind: str, size: int) -> None:
    """Java's own client sends every first request with one; the parser stops before the body."""
    wish = [
        ("connection", "Upgrade, HTTP2-Settings"),
        ("upgrade", kind),
        ("http2-settings", "AAEAAEAAAAIAAAAB"),
    ]
    evil = request("GET", "/upstream/a/evil")
    whole = (
        request("POST", X, evil, wish)
        + request("POST", X, headers=[*wish, ("Transfer-Encoding", "chunked")])
        + b"%x\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(evil), evil)
        + request("POST", X, b"", wish)
        + request("GET", X)
    )
    async with answered() as (front, engine):
        client = await front.connect()
        for start in range(0, len(whole), size):
            await client.send(whole[start : start + size])
            await asyncio.sleep(0)
        for _ in range(4):
            assert (await client.read()).body == b"ok"
        assert engine.bodies == [evil, evil, b"", b""]
        assert not any(b"evil" in head for head in engine.heads)


# -- answers -----------------------------------------------------------------------------------------------


@SERVERS
@pytest.mark.parametrize(
    ("raw", "body", "framing"),
    [
        (OK, b"ok", ("2", None)),
        (CHUNKED, b"abcde", (None, "chunked")),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", ("0", None)),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end", (None, "chunked")),
    ],
    ids=["sized", "chunked", "empty", "old"],
)
async def test_4_6_an_answer_keeps_its_framing(
    plain: bool, raw: bytes, body: bytes, framing: tuple[str | None, str | None]
) -> None:
    async with answered(raw, plain=plain) as (front, _):
        client = await front.connect()
        for _ in range(2):
            answer = await client.ask("GET", X)
            assert (answer.body, answer.complete) == (body, True)
            assert (answer.get("content-length"), answer.get("transfer-encoding")) == framing


async def test_4_6_old_clients_get_chunks_without_their_framing() -> None:
    async with answered(CHUNKED) as (front, _):
        client = await front.connect()
        await client.send(request("GET", X).replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = await client.read()

        assert answer.body == b"abcde"
        assert answer.get("transfer-encoding") is None
        assert answer.get("connection") == "close"


@SERVERS
@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints", b"199 What"])
async def test_4_6_interim_answers_are_passed_over(plain: bool, status: bytes) -> None:
    async with answered(b"HTTP/1.1 " + status + b"\r\nx: y\r\n\r\n" + OK, plain=plain) as (front, engine):
        client = await front.connect()
        for _ in range(2):
            await client.send(request("GET", X))
            assert (await client.interim()).status == 200
            assert (await client.rest()) == (b"ok", True)
        assert len(engine.heads) == 2


async def test_4_6_a_switch_that_nobody_asked_for_is_an_error() -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
    async with answered(raw) as (front, _):
        answer = await front.get(X)
        assert answer.status == 502
        assert "switched protocols" in answer.error["message"]


@SERVERS
@pytest.mark.parametrize("framing", [b"content-length: 1000\r\n", b"transfer-encoding: chunked\r\n", b""])
async def test_4_6_head_leaves_the_next_answer_in_its_place(plain: bool, framing: bytes) -> None:
    heads = 0

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heads
        while True:
            line = await reader.readuntil(b"\r\n\r\n")
            heads += line.startswith(b"HEAD")
            writer.write(
                b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" if line.startswith(b"HEAD") else OK,
            )

    async with raw_engine(engine) as port, running(config(in_process("a", port)), plain=plain) as front:
        client = await front.connect()
        for _ in range(3):
            head = await client.ask("HEAD", X)
            assert (head.status, head.body) == (200, b"")
            assert head.get("content-length") == ("1000" if b"length" in framing else None)
            assert (await client.ask("GET", X)).body == b"ok"
    assert heads == 3


@SERVERS
@pytest.mark.parametrize("status", [204, 304])
async def test_4_6_no_content_leaves_the_next_answer_in_its_place(plain: bool, status: int) -> None:
    raw = b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status
    async with answered(raw, plain=plain) as (front, engine):
        client = await front.connect()
        for _ in range(3):
            assert (await client.ask("GET", X)).status == status
        assert len(engine.heads) == 3


# -- connections to engines --------------------------------------------------------------------------------


@asynccontextmanager
async def counted(
    answer: bytes = OK, *, closes_after: int = 0, plain: bool = False
) -> AsyncIterator[tuple[Front, list[int]]]:
    """An engine that notes how many requests each of its connections carried."""
    connections: list[int] = []

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(connections)
        connections.append(0)
        while True:
            await reader.readuntil(b"\r\n\r\n")
            if closes_after and connections[number] == closes_after:
                return
            connections[number] += 1
            writer.write(answer)

    async with raw_engine(engine) as port, running(config(in_process("a", port)), plain=plain) as front:
        yield front, connections


@SERVERS
async def test_4_6_connections_are_used_again(plain: bool) -> None:
    async with counted(CHUNKED, plain=plain) as (front, connections):
        for _ in range(10):
            assert (await front.get(X)).body == b"abcde"
    assert connections == [10]


async def test_4_6_a_connection_that_the_engine_closes_with_its_answer_is_not_used_again() -> None:
    closing = OK.replace(b"content-length", b"connection: close\r\ncontent-length")
    async with counted(closing) as (front, connections):
        for _ in range(3):
            assert (await front.get(X)).body == b"ok"
    assert connections == [1, 1, 1]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_4_6_a_connection_that_had_just_been_closed_is_replaced(method: str) -> None:
    """The engine reads the second request of a connection, and closes it instead of answering."""
    async with counted(closes_after=1) as (front, connections):
        for _ in range(3):
            answer = await front.ask(method, X, b"" if method == "POST" else None)
            assert (answer.status, answer.body) == (200, b"ok")
    assert connections == [1, 1, 1]


async def test_4_6_it_is_replaced_once() -> None:
    requests = 0

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        if requests == 1:
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\n")
            requests += 1

    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        assert (await front.get(X)).status == 200
        assert (await front.get(X)).status == 502
    assert requests == 3


async def test_4_6_what_was_begun_is_not_begun_again() -> None:
    """One byte of an answer, and the request is not sent a second time."""
    requests = 0

    async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while True:
            await reader.readuntil(b"\r\n\r\n")
            requests += 1
            writer.write(OK if requests == 1 else b"H")
            if requests > 1:
                return

    async with raw_engine(engine) as port, running(config(in_process("a", port))) as front:
        assert (await front.get(X)).status == 200
        assert (await front.get(X)).status == 502
    assert requests == 2


# -- TLS ---------------------------------------------------------------------------------------------------


async def test_4_6_an_engine_behind_tls(tmp_path: Path) -> None:
    """On this machine without a certificate that anybody signed, as its health check does."""
    engine = Recorder()
    files = certificate.make(tmp_path)
    async with tls_engine(engine, files) as port:
        model = in_process("a", port, proxy=f"https://localhost:{port}/base")
        async with running(config(model)) as front:
            for _ in range(2):
                answer = await front.ask("POST", X, b"x" * 300_000)
                assert (answer.status, answer.body) == (200, b"ok")
            assert engine.line == b"POST /base/x HTTP/1.1"
            assert engine.header("host") == ["front"]
            assert engine.bodies == [b"x" * 300_000] * 2


@asynccontextmanager
async def tls_engine(engine: Recorder, files: tuple[str, str]) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await engine.serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate.server_context(files))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])
async def test_4_7_websockets_over_tls(tmp_path: Path) -> None:
    files = certificate.make(tmp_path)
    async with running(config(stub("a")), tls=files) as front:
        async with websockets.connect(
            f"wss://127.0.0.1:{front.port}/upstream/a/ws",
            ssl=certificate.client_context(files),
            proxy=None,
            compression=None,
            max_size=None,
        ) as socket:
            large = bytes(range(256)) * 40_000
            await socket.send(large)
            assert await socket.recv() == large
        await front.until_idle()


async def test_4_6_pipelined_answers_do_not_mix() -> None:
    async with answered() as (front, _):
        client: Client = await front.connect()
        wish = [request("GET", X), request("HEAD", X), request("GET", "/health"), request("POST", X, b"{}")]
        await client.send(b"".join(wish * 25))
        for _ in range(25):
            assert (await client.read()).body == b"ok"
            assert (await client.read("HEAD")).body == b""
            assert (await client.read()).body == b"OK"
            assert (await client.read()).body == b"ok"

"""Requests that are wrong, too large, too slow or none at all: a clear answer, and nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hostler.gateway import body as body_module
from hostler.web import protocol

from .client import Client, TruncatedError, request
from .server import CHAT, Front, config, question, running, stub, turn, until

POST = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n"
MEGABYTE = 1_048_576


@asynccontextmanager
async def served(*, plain: bool = False, **fields: Any) -> AsyncIterator[tuple[Front, Client]]:
    """A front and a connection to it; afterwards others must be served as before."""
    async with running(config(stub("a"), **fields), plain=plain) as front:
        yield front, await front.connect()
        assert (await asyncio.wait_for(front.get("/health"), 5)).body == b"OK"


# -- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "no `model`"),
        (b"{}", 400, "no `model`"),
        (b'{"model": null}', 400, "no `model`"),
        (b'{"model": ["a"]}', 400, "no `model`"),
        (b'{"model": ""}', 400, "no `model`"),
        (b'{"model": "a"', 400, "not valid JSON"),
        (b'{"model": "a"} trailing', 400, "not valid JSON"),
        (b"\xff\xfe", 400, "not valid JSON"),
        (b'{"model": "\xff"}', 400, "not valid JSON"),
        (b"[" * 100_000, 400, "JSON"),
        (b"[]", 400, "JSON object"),
        (b'"a"', 400, "JSON object"),
        (b'{"model": "nobody"}', 404, "no model called 'nobody'"),
        (b'{"model": "nobody\\n\\u0000"}', 404, "no model called"),
        (b'{"model": 7}', 404, "no model called '7'"),
        (b'{"model": true}', 404, "no model called 'true'"),
    ],
)
async def test_a_body_that_names_no_model_is_explained(body: bytes, status: int, words: str) -> None:
    async with served() as (front, client):
        answer = await client.ask("POST", CHAT, body)

        assert answer.status == status
        assert words in answer.error["message"]
        assert answer.error["type"] == "invalid_request_error"
        assert (await client.ask("GET", "/health")).status == 200  # on the same connection
        assert front.states() == {}


@pytest.mark.parametrize("head", [b"", b"expect: 100-continue\r\n"], ids=["at once", "asks first"])
async def test_a_body_whose_declared_size_is_too_large_is_refused_unread(head: bytes) -> None:
    """A client that asks first is told before it sends a byte of 200 MB."""
    async with served(max_body_mb=1) as (_, client):
        await client.send(POST + head + b"content-length: 209715200\r\n\r\n")
        answer = await client.read()

        assert answer.status == 413
        assert "1 MB (maxBodyMB" in answer.error["message"]
        assert answer.get("connection") == ("close" if head else None)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])
async def test_who_sends_everything_before_reading_can_read_the_refusal(chunked: bool, plain: bool) -> None:
    """What is refused is read and thrown away, so that the answer is not lost to a reset."""
    size = 20 * MEGABYTE
    async with served(max_body_mb=1, plain=plain) as (_, client):
        await client.send(
            POST + (b"transfer-encoding: chunked" if chunked else b"content-length: %d" % size) + b"\r\n\r\n"
        )
        piece = b"x" * MEGABYTE
        for _ in range(size // len(piece)):
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await client.send(b"0\r\n\r\n")
        answer = await client.read()

        assert answer.status == 413
        assert (await client.ask("GET", "/health")).body == b"OK"  # the connection is still in step


async def test_a_body_at_the_limit_is_accepted() -> None:
    async with served(max_body_mb=1) as (front, client):
        body = b'{"model": "a", "messages": [], "x": "' + b"y" * (MEGABYTE - 39) + b'"}'
        assert len(body) == MEGABYTE

        assert (await client.ask("POST", CHAT, body)).status == 200
        assert (await client.ask("POST", CHAT, body + b" ")).status == 413
        assert front.hostler.gateway.budget.held == 0


async def test_leave_to_send_is_given() -> None:
    async with served() as (_, client):
        body = b'{"model": "a", "messages": []}'
        await client.send(POST + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body))
        assert (await client.interim()).status == 100
        await client.send(body)

        assert (await client.read()).status == 200


@pytest.mark.parametrize("path", [b"/api/models/load/a", b"/nowhere", b"/upstream/nobody/x", b"/v1/models"])
async def test_a_body_that_nobody_asked_for_is_not_taken_for_a_request(path: bytes) -> None:
    """Refused before the client had leave to send: the connection ends, whatever the client does now."""
    async with served() as (_, client):
        await client.send(
            b"POST " + path + b" HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 40\r\n\r\n"
        )
        answer = await client.read()

        assert answer.get("connection") == "close"
        assert await client.end() == b""


async def test_more_bodies_than_memory_are_refused_for_now() -> None:
    """The sum of all bodies is bounded; who comes too late is asked to come again."""
    async with served() as (front, client):
        front.hostler.gateway.budget.total = 100_000
        await client.send(POST + b"content-length: 90000\r\n\r\n" + b"x" * 80_000)
        await until(lambda: front.hostler.gateway.budget.held > 70_000, "the first body to arrive")

        answer = await front.ask("POST", CHAT, b"x" * 50_000)

        assert answer.status == 503
        assert answer.get("retry-after") == "1"
        client.leave()
        await until(lambda: front.hostler.gateway.budget.held == 0, "the bytes to be given back")


# -- slow clients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"GET /", b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: "])
async def test_a_head_that_does_not_come_to_its_end(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte after byte, each in good time, and yet too slow."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    async with served() as (front, client):
        await client.send(sent)
        drip = asyncio.create_task(_drip(client, b"y"))
        assert (await front.get("/health")).status == 200

        answer = await client.read()

        assert answer.status == 408
        assert answer.get("connection") == "close"
        assert await client.end() == b""
        drip.cancel()


async def _drip(client: Client, byte: bytes) -> None:
    while True:
        await turn(0.02)
        client.writer.write(byte)


async def test_the_second_head_of_a_connection_is_watched_like_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served() as (_, client):
        assert (await client.ask("GET", "/health")).status == 200
        monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
        await client.send(b"GET /hea")

        assert (await client.read()).status == 408


async def test_a_connection_on_which_nothing_comes_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    async with served() as (_, client):
        assert await client.end() == b""


@pytest.mark.parametrize("filler", [b"", b"\r\n"], ids=["silence", "blank lines"])
async def test_a_connection_on_which_nothing_more_comes_is_closed(filler: bytes) -> None:
    """Blank lines between requests are allowed, but are not requests."""
    async with served() as (front, client):
        front.server.config.timeout_keep_alive = 1
        client = await front.connect()
        assert (await client.ask("GET", "/health")).status == 200
        drip = asyncio.create_task(_drip(client, filler))

        assert await client.end() == b""
        drip.cancel()


async def test_a_refused_body_that_never_ends_does_not_hold_its_connection_for_ever() -> None:
    async with served(max_body_mb=1) as (front, client):
        front.server.config.timeout_keep_alive = 1
        client = await front.connect()
        await client.send(POST + b"content-length: 100000000\r\n\r\n")
        assert (await client.read()).status == 413
        drip = asyncio.create_task(_drip(client, b"x"))

        assert await client.end() == b""
        drip.cancel()


@pytest.mark.parametrize("plain", [False, True], ids=["own server", "plain uvicorn"])
async def test_a_body_that_does_not_come_to_its_end(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "BODY_SECONDS", 0.3)
    async with served(plain=plain) as (front, client):
        await client.send(POST + b"content-length: 1000\r\n\r\n")
        drip = asyncio.create_task(_drip(client, b"x"))
        assert (await front.get("/health")).status == 200

        answer = await client.read()

        assert answer.status == 408
        assert answer.get("connection") == "close"
        drip.cancel()


# -- heads -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"x-%d: y\r\n" % number for number in range(201)) + b"\r\n",
        b"".join(b"x-%d: %b\r\n" % (number, b"y" * 1000) for number in range(100)) + b"\r\n",
        b"x: " + b"y" * 70_000 + b"\r\n\r\n",
        b"x: " + b"y" * 3_000_000,
        b"x" * 3_000_000,
    ],
    ids=["many", "sum", "one", "endless value", "endless name"],
)
async def test_a_flood_of_headers_is_refused_where_the_client_can_read_it(flood: bytes) -> None:
    async with served() as (_, client):
        client.writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n" + flood)
        answer = await client.read()

        assert answer.status == 431
        assert answer.error["code"] == "invalid_request"
        assert await client.end() == b""


async def test_an_endless_request_line_is_refused() -> None:
    async with served() as (_, client):
        client.writer.write(b"GET /" + b"a" * 3_000_000)

        assert (await client.read()).status == 431


async def test_a_large_head_below_the_limit_is_served() -> None:
    """Whatever came before it on the connection, and however it is cut into packets."""
    async with served(max_body_mb=8) as (_, client):
        head = request("GET", "/health", headers=[(f"x-{n}", "y" * 500) for n in range(100)])
        body = request("POST", CHAT, b"x" * 1_000_000)
        await client.send(body + head[:20_000])
        assert (await client.read()).status == 400
        await client.send(head[20_000:40_000])
        await client.send(head[40_000:])

        assert (await client.read()).body == b"OK"


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nx : y\r\n\r\n",
        b"GET /health HTTP/1.1\r\nx: a\x00b\r\n\r\n",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"content-length: ten\r\n\r\n",
        POST + b"content-length: 99999999999999999999999\r\n\r\n",
        POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        POST + b"content-length: 2\r\ncontent-length: 2\r\n\r\nab",
        POST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhelloX",
        POST + b"transfer-encoding: chunked\r\n\r\n-5\r\nhello",
    ],
)
async def test_what_is_not_a_request_is_refused_once_and_the_connection_ends(sent: bytes) -> None:
    async with served() as (_, client):
        await client.send(sent + b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
        answer = await client.read()

        assert answer.status == 400
        assert answer.get("connection") == "close"
        assert "not a valid HTTP request" in answer.error["message"]
        assert await client.end() == b""


async def test_a_good_request_before_a_bad_one_is_answered() -> None:
    """In one packet; the answers in front of the mistake still go out."""
    async with served() as (_, client):
        await client.send(request("POST", CHAT, question("a")) + request("GET", "/health") + b"nonsense\r\n")

        assert (await client.read()).json()["object"] == "chat.completion"
        assert (await client.read()).body == b"OK"
        assert await client.end() == b""


async def test_a_good_request_before_one_with_a_bad_body_is_answered() -> None:
    async with served() as (_, client):
        bad = b"POST /upstream/a/echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"
        await client.send(request("POST", CHAT, question("a")) + request("GET", "/health") + bad)

        assert (await client.read()).json()["object"] == "chat.completion"
        assert (await client.read()).body == b"OK"
        assert await client.end() == b""


# -- unusual but right -------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order() -> None:
    """The first is the slowest."""
    async with served() as (_, client):
        await client.send(
            request("POST", CHAT, question("a", first_delay=0.1))
            + request("GET", "/health")
            + request("POST", CHAT, question("a", stream=True))
            + request("POST", CHAT, b"{")
            + request("GET", "/upstream/a/echo?n=5")
        )

        assert (await client.read()).json()["object"] == "chat.completion"
        assert (await client.read()).body == b"OK"
        assert (await client.read()).body.endswith(b"data: [DONE]\n\n")
        assert (await client.read()).status == 400
        assert (await client.read()).json()["query"] == "n=5"


async def test_old_clients_get_an_answer_that_they_understand() -> None:
    """HTTP/1.0 knows no chunks: the end of the connection is the end of the stream."""
    async with served() as (_, client):
        whole = request("POST", CHAT, question("a", stream=True, tokens=3))
        await client.send(whole.replace(b"HTTP/1.1", b"HTTP/1.0"))
        answer = await client.read()

        assert answer.status == 200
        assert answer.get("transfer-encoding") is None
        assert answer.get("connection") == "close"
        assert answer.body.startswith(b"data: {")
        assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_old_clients_see_when_a_stream_breaks_off() -> None:
    """Without any framing only a reset can tell."""
    async with served() as (_, client):
        whole = request("POST", CHAT, question("a", stream=True, tokens=9, die_in_stream=3))
        await client.send(whole.replace(b"HTTP/1.1", b"HTTP/1.0"))
        await client.head()

        body, complete = await client.rest()

        assert not complete or b"error" in body


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_a_request_that_wants_the_connection_closed(version: bytes) -> None:
    async with served() as (_, client):
        await client.send(b"GET /health " + version + b"\r\nconnection: close\r\nhost: x\r\n\r\n")
        answer = await client.read()

        assert answer.body == b"OK"
        assert answer.get("connection") == "close"
        assert await client.end() == b""


async def test_head_requests_get_no_body() -> None:
    async with served() as (_, client):
        for path in ("/health", "/v1/models", "/ui/", "/logs/stream", "/upstream/a/v1/models", "/nowhere"):
            answer = await client.ask("HEAD", path)

            assert answer.status == (404 if path == "/nowhere" else 200)
            assert answer.body == b""
        assert (await client.ask("GET", "/health")).body == b"OK"


@pytest.mark.parametrize("upgrade", ["h2c", "websocket", "TLS/1.3"])
async def test_an_upgrade_is_not_made_and_the_request_answered(upgrade: str) -> None:
    """What comes behind it in the same packet is the next request."""
    async with served() as (_, client):
        wish = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", upgrade), ("http2-settings", "AAMA")]
        await client.send(request("GET", "/health", headers=wish) + request("GET", "/api/version"))

        assert (await client.read()).body == b"OK"
        assert "version" in (await client.read()).json()
        assert (await client.ask("GET", "/health")).body == b"OK"


async def test_an_absolute_target_is_understood() -> None:
    async with served() as (_, client):
        assert (await client.ask("GET", "http://front/health?x=1")).body == b"OK"


async def test_the_refused_leave_no_connection_behind() -> None:
    async with served() as (front, client):
        client.leave()
        for _ in range(5):
            other = await front.connect()
            await other.send(b"nonsense\r\n\r\n")
            await other.end()
            other.leave()

        await until(lambda: not front.server.server_state.connections, "every connection to end")
        with pytest.raises(TruncatedError):
            await client.read()
